# Sourced by runtime-tools and crun beside it: a lab, runtimes in turn, a table.
# shellcheck shell=bash disable=SC2034 # limit: for those who source this
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

limit=${LIMIT:-60}
kernel=${KERNEL:-small}

# enter_lab SUITE SOURCE [CASE...]: the same script again, in the lab. Its output stays
# in build/lab/suites/SUITE. Nothing to do where this is the lab.
enter_lab() {
	local suite=$1 folder
	shift
	logs=$repo/build/lab/suites/$suite
	mkdir -p "$logs"
	[ -z "${MICROVM_LAB:-}" ] || return 0
	folder=$("$repo/tests/images/kernel" "$kernel")
	export KERNEL_FOLDER=$folder
	exec "$repo/tests/lab/lab" --no-input --memory 4G --timeout 7200 -- \
		"$repo/tests/suites/$suite" "$@"
}

# What an administrator would write for the runtime under test.
configure_lab() {
	[ -n "${MICROVM_LAB:-}" ] || die "this changes /etc: only for the lab"
	mkdir -p /etc/microvm /scratch/tmp
	printf '{ "kernel": "%s/vmlinuz", "modules": "%s/modules" }\n' "$KERNEL_FOLDER" \
		"$KERNEL_FOLDER" >/etc/microvm/config.json
	[ -d "$KERNEL_FOLDER/modules" ] ||
		printf '{ "kernel": "%s/vmlinuz" }\n' "$KERNEL_FOLDER" >/etc/microvm/config.json
	export TMPDIR=/scratch/tmp
	# Process ids of five digits: one of crun's cases wants to see such.
	echo 20000 >/proc/sys/kernel/ns_last_pid
	cd /scratch || die "the lab has no /scratch"
}

# runtime_of NAME: its path.
runtime_of() {
	if [ "$1" = ours ]; then
		echo "$repo/build/oci/microvm-oci"
	else
		command -v "$1"
	fi
}

# sweep RUNTIME [OPTION...]: what a case that failed or was ended has left, so that the
# next finds none of it.
sweep() {
	local id

	for id in $("$@" list -q 2>/dev/null); do
		timeout -k 5 30 "$@" delete --force "$id" >/dev/null 2>&1 || true
	done
}

compared=0
below=0

# row CASE RESULT...: a line of the table; the first result is ours, and a result begins
# with how good it is, a number that is not shown.
row() {
	local name=$1 best=0 result
	shift
	printf '%-44s' "$name"
	for result; do
		printf ' %-16s' "${result#*:}"
	done
	compared=$((compared + 1))
	for result in "${@:2}"; do
		[ "${result%%:*}" -le "$best" ] || best=${result%%:*}
	done
	if [ "${1%%:*}" -lt "$best" ]; then
		below=$((below + 1))
		printf ' below'
	fi
	echo
}

last_line() {
	echo "$compared cases, ours below its peer in $below"
}
