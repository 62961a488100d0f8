# Loaded by the bats files beside it: how to run something in a guest, and look at it.
# shellcheck shell=bash

KERNEL=$KERNEL_6_1 MODULES=$MODULES_6_1
log=$BATS_TEST_TMPDIR/log # what microvm itself said
vm=                       # process id of a machine in the background

# status_of NAME: an exit status of microvm, by its name in cli/status.h without EXIT_.
status_of() {
	sed -nE "s/^\s*EXIT_$1 = ([0-9]+).*/\1/p" "$REPO/cli/status.h"
}

# quick_kernel: takes the small kernel where there is one, for tests that any kernel will do for.
quick_kernel() {
	if [ -n "$KERNEL_SMALL" ]; then
		KERNEL=$KERNEL_SMALL MODULES=
	fi
}

# The words on the kernel command line that make the test image run a shell text.
shell_words() {
	local words

	words="microvm.quiet microvm.sh=$(base64 -w 0 <<<"$1")"
	if [ ${#words} -gt 1700 ]; then
		echo "too long for a kernel command line" >&2
		return 1
	fi
	echo "$words"
}

# microvm_run TEXT [OPTION...]: becomes a machine that runs the shell text TEXT. KERNEL, MODULES
# (none if empty), ROOT, APPEND and VMM, where set, take the place of the usual ones.
microvm_run() {
	local words modules=()

	words=$(shell_words "$1") || exit 99
	shift
	[ -z "$MODULES" ] || modules=(--modules "$MODULES")
	exec "${VMM:-$MICROVM}" run --kernel "$KERNEL" "${modules[@]}" \
		--rootfs "${ROOT:-$ROOTFS,ro}" --append "$words${APPEND:+ $APPEND}" "$@"
}

# guest TEXT [OPTION...]: runs a machine to its end. Sets status, and output to the console's words.
guest() {
	status=0
	(microvm_run "$@" --timeout "${LIMIT:-120s}") </dev/null \
		>"$BATS_TEST_TMPDIR/out" 2>"$log" 3>&- || status=$?
	output=$(tr -d '\r' <"$BATS_TEST_TMPDIR/out")
	show
}

# What bats prints if the test fails.
show() {
	echo "$output"
	[ ! -s "$log" ] || sed 's/^/stderr: /' "$log"
	echo "status $status"
}

# start_guest TEXT [OPTION...]: the same in the background; vm is its process.
start_guest() {
	microvm_run "$@" --timeout "${LIMIT:-120s}" </dev/null >"$BATS_TEST_TMPDIR/out" 2>"$log" 3>&- &
	vm=$!
}

# end_guest: waits for it.
end_guest() {
	status=0
	wait "$vm" || status=$?
	vm=
	output=$(tr -d '\r' <"$BATS_TEST_TMPDIR/out")
	show
}

# await SECONDS COMMAND...: until the command succeeds.
await() {
	local end=$((SECONDS + $1))

	shift
	until "$@" >/dev/null 2>&1; do
		if [ "$SECONDS" -ge "$end" ]; then
			echo "still not after all the time: $*"
			cat "$BATS_TEST_TMPDIR/out" "$log" 2>/dev/null
			return 1
		fi
		sleep 0.2
	done
}

# await_word WORD: until the guest in the background has said it.
await_word() {
	await 120 grep -q "$1" "$BATS_TEST_TMPDIR/out"
}

# has LINE: the guest printed just this line.
has() {
	grep -qxF -- "$1" <<<"$output" || {
		echo "not in the output: $1"
		return 1
	}
}

# disk NAME SIZE: an empty image, and its path.
disk() {
	rm -f "$SCRATCH/$1"
	truncate -s "$2" "$SCRATCH/$1"
	echo "$SCRATCH/$1"
}

# check_fs IMAGE: e2fsck finds nothing at all to say against it.
check_fs() {
	PATH=$PATH:/sbin:/usr/sbin e2fsck -fn "$1"
}

# from_image IMAGE FILE: the content of a file in an ext4 image.
from_image() {
	PATH=$PATH:/sbin:/usr/sbin debugfs -R "cat $2" "$1" 2>/dev/null
}

stop_leftovers() {
	[ -z "$vm" ] || kill -9 "$vm" 2>/dev/null || true
}
