# Sourced by tests/run: the parts of a test run. Each calls report for every test.
# shellcheck shell=bash disable=SC2154 # repo, cache, logs come from tests/run

small_kernel_job=none

part_checks() {
	local name status

	while read -r name; do
		status=0
		"$repo/scripts/check.sh" "$name" >"$logs/check" 2>&1 || status=$?
		case $status in
		0) report pass "check: $name" ;;
		77) report skip "check: $name" "nothing to check yet" ;;
		*)
			report fail "check: $name"
			show "$logs/check" 40
			;;
		esac
	done < <("$repo/scripts/check.sh")
}

# build VARIANT: returns non-zero and reports it where it does not build.
build() {
	local variant=${1:-}

	if timeout 1200 "$repo/scripts/build.sh" ${variant:+"$variant"} >"$logs/build" 2>&1; then
		grep -E 'warning:' "$logs/build" | sort -u | head -n 20 || true
		return 0
	fi
	report fail "build${variant:+: $variant}"
	show "$logs/build" 60
	return 1
}

# One line of meson's testlog.json is one test.
part_unit() {
	local line name result

	build || return 0
	rm -f "$repo/build/meson-logs/testlog.json"
	timeout 1200 meson test -C "$repo/build" --no-rebuild -t 4 --print-errorlogs \
		>"$logs/unit" 2>&1 || true
	if [ ! -s "$repo/build/meson-logs/testlog.json" ]; then
		if grep -q 'No tests defined' "$logs/unit"; then
			report skip unit "no tests defined"
		else
			report fail unit "meson test made no log"
			show "$logs/unit"
		fi
		return 0
	fi
	while read -r line; do
		name=$(sed -n 's/^{"name": "\([^"]*\)".*/\1/p' <<<"$line")
		result=$(sed -n 's/.*"result": "\([A-Z]*\)".*/\1/p' <<<"$line")
		case $result in
		OK) report pass "unit: $name" ;;
		SKIP) report skip "unit: $name" "$(sed -n 's/.*[Ss][Kk][Ii][Pp][a-z:]* *\([^"\\]*\).*/\1/p' <<<"$line")" ;;
		*) report fail "unit: $name" "$result" ;;
		esac
	done <"$repo/build/meson-logs/testlog.json"
	! grep -q '^fail.unit' "$results" || show "$logs/unit" 200
}

part_fuzz() {
	local target seconds=${FUZZ_SECONDS:-10} targets

	mapfile -t targets < <("$repo/scripts/fuzz.sh" 2>/dev/null)
	[ ${#targets[@]} -gt 0 ] || return 0
	build fuzz || return 0
	for target in "${targets[@]}"; do
		(
			if FUZZ_BUILT=1 timeout "$((seconds + 120))" "$repo/scripts/fuzz.sh" "$target" "$seconds" \
				>"$logs/fuzz-$target" 2>&1; then
				report pass "fuzz: $target"
			else
				report fail "fuzz: $target"
				show "$logs/fuzz-$target" 40
			fi
		) &
		limit_jobs "$(nproc)"
	done
	limit_jobs 1
}

# Waits until fewer than so many background jobs run, beside the small kernel's.
limit_jobs() {
	while [ "$(jobs -pr | grep -vxc "$small_kernel_job")" -ge "$1" ]; do
		wait -n || true
	done
}

part_lab() {
	local status=0

	has_kvm && return 0
	"$repo/tests/lab/lab" --freeze
	timeout -k 10 300 bats --tap "$repo/tests/lab/lab.bats" >"$logs/lab" 2>"$logs/lab.err" || status=$?
	count_tap lab "$logs/lab" "$status"
}

part_vm() {
	run_folder vm
}

part_oci() {
	run_folder oci
}

# run_folder NAME: all bats files of tests/NAME.
run_folder() {
	local all

	mapfile -t all < <(find "$repo/tests/$1" -name '*.bats' 2>/dev/null | sort)
	if [ ${#all[@]} = 0 ]; then
		report skip "$1" "there are no bats files"
		return 0
	fi
	run_bats "${all[@]}"
}

# What the bats files find in their environment.
export_things() {
	local name kernel

	export MICROVM=$repo/build/cli/microvm REPO=$repo
	export MICROVM_ASAN=$repo/build-asan/cli/microvm MICROVM_TSAN=$repo/build-tsan/cli/microvm
	for name in 6.1 6.12; do
		kernel=$("$repo/tests/images/kernel" "$name") || return
		export "KERNEL_${name/./_}=$kernel/vmlinuz" "MODULES_${name/./_}=$kernel/modules"
		export "VMLINUX_${name/./_}=$kernel/vmlinux"
	done
	ROOTFS=$("$repo/tests/images/image" test) || return
	kernel=$("$repo/tests/images/kernel" small) || return
	export ROOTFS KERNEL_SMALL=$kernel/vmlinuz VMLINUX_SMALL=$kernel/vmlinux
}

# The small kernel takes minutes to build, once: begin early, beside other parts.
begin_small_kernel() {
	[ -z "$("$repo/tests/images/kernel" small --if-built)" ] || return 0
	echo "building a small guest kernel meanwhile (once)"
	"$repo/scripts/setup.sh" kernel
	"$repo/tests/images/kernel" small >"$logs/small" 2>&1 &
	small_kernel_job=$!
}

run_bats() {
	local file jobs

	build && build asan && build tsan || return 0
	if ! export_things >"$logs/things" 2>&1; then
		report fail "kernels and images for the VM tests"
		show "$logs/things"
		return 0
	fi
	jobs=$(nproc)
	if has_kvm; then
		jobs=1
	else
		echo "no processor virtualization here: VM tests run in the lab, an emulated host"
		"$repo/tests/lab/lab" --freeze
	fi
	for file; do
		run_bats_file "$file" &
		limit_jobs "$jobs"
	done
	limit_jobs 1
}

# One bats file, in one lab (or here).
run_bats_file() {
	local file=$1 name options memory=3G limit=600 word log start=$SECONDS status=0

	name=${file#"$repo/tests/"}
	log=$logs/${name//\//-}
	options=$(sed -n '1,10s/^# lab: //p' "$file")
	for word in $options; do
		case $word in
		memory=*) memory=${word#*=} ;;
		timeout=*) limit=${word#*=} ;;
		*) report fail "$name" "lab: unknown option $word" ;;
		esac
	done
	WORK=$repo/build/lab/${name//\//-}
	rm -rf "$WORK"
	mkdir -p "$WORK"
	if has_kvm; then
		SCRATCH=$WORK/scratch
		mkdir -p "$SCRATCH"
	else
		SCRATCH=/scratch
	fi
	export WORK SCRATCH
	on_kvm --memory "$memory" --timeout "$limit" --no-input -- \
		timeout -k 10 "$limit" bats --tap "$file" >"$log" 2>"$log.err" || status=$?
	count_tap "$name" "$log" "$status"
	if grep -q '^lab: ' "$log.err"; then
		grep '^lab: ' "$log.err" | sed "s|^|$name: |"
	fi
	echo "$name took $((SECONDS - start)) s"
}

# count_tap NAME LOG STATUS: reports every test of a TAP log. A test that the
# plan promises and that never came has failed.
count_tap() {
	local name=$1 log=$2 status=$3 plan seen

	# A lab that died was repeated: what counts is from the last plan on.
	plan=$(grep -nE '^1\.\.[0-9]+' "$log" | tail -n 1)
	if [ -z "$plan" ]; then
		report fail "$name" "bats did not start (status $status)"
		show "$log" 20
		show "$log.err" 40
		return
	fi
	tail -n "+${plan%%:*}" "$log" >"$log.tap"
	while IFS= read -r line; do
		case $line in
		'ok '*' # skip'*) report skip "$name: $(tap_name "${line%% # skip*}")" "${line##* # skip }" ;;
		'ok '*) report pass "$name: $(tap_name "$line")" ;;
		'not ok '*) report fail "$name: $(tap_name "$line")" ;;
		esac
	done <"$log.tap"
	seen=$(grep -cE '^(not )?ok ' "$log.tap" || true)
	if [ "$seen" -lt "${plan##*.}" ]; then
		report fail "$name" "stopped after $seen of ${plan##*.} tests (status $status)"
		show "$log.err" 20
	fi
	if grep -q '^not ok' "$log.tap"; then
		grep -v '^ok ' "$log.tap" >"$log.bad"
		show "$log.bad" 100
	fi
}

tap_name() {
	sed -E 's/^(not )?ok [0-9]+ //' <<<"$1"
}
