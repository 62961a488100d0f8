#!/usr/bin/env bats
# The lab's own tests; they run natively, beside everything else.

lab() {
	"$BATS_TEST_DIRNAME/lab" --timeout 60 "$@"
}

setup_file() {
	lab --freeze
}

setup() {
	here=$(cd "$BATS_TEST_DIRNAME/../.." && pwd -P)
	mkdir -p "$here/build/lab"
	work=$(mktemp -d "$here/build/lab/test.XXXXXX")
}

teardown() {
	rm -rf "$work"
}

@test "a command has a true /dev/kvm" {
	run lab --no-input -- sh -c 'test -c /dev/kvm && grep -qw svm /proc/cpuinfo && cat /sys/module/kvm_amd/parameters/npt'
	[ "$status" = 0 ]
	[ "$output" = Y ]
}

@test "the exit status passes through, and a signal as 128 more" {
	run lab --no-input -- sh -c 'exit 42'
	[ "$status" = 42 ]
	run lab --no-input -- sh -c 'kill -9 $$'
	[ "$status" = 137 ]
	status=0
	lab --no-input -- /no/such/program || status=$?
	[ "$status" = 127 ]
}

@test "arguments, environment and current directory pass through" {
	cd "$work"
	A='x  "y" $z' run lab --no-input -- sh -c 'printf "%s|" "$PWD" "$A" "$@"' _ 'one two' '' '*'
	[ "$output" = "$work|x  \"y\" \$z|one two||*|" ]
}

@test "standard input and output pass through byte by byte" {
	head -c 3000000 /dev/urandom >"$work/in"
	lab -- cat <"$work/in" >"$work/out"
	cmp "$work/in" "$work/out"
}

@test "standard error is apart from standard output" {
	lab --no-input -- sh -c 'echo out; echo err >&2' >"$work/out" 2>"$work/err"
	[ "$(cat "$work/out")" = out ]
	[ "$(cat "$work/err")" = err ]
}

@test "the work folder is written through, everything else is not" {
	lab --no-input -- sh -c "echo yes >$work/kept; echo no >$here/build/gone; echo no >/gone"
	[ "$(cat "$work/kept")" = yes ]
	[ ! -e "$here/build/gone" ]
	[ ! -e /gone ]
}

@test "the clock is right" {
	now=$(lab --no-input -- date +%s)
	[ $(($(date +%s) - now)) -le 5 ]
}

@test "two runs at once do not meet, and draw different random numbers" {
	lab --no-input -- sh -c 'echo 1 >/tmp/x; sleep 1; cat /tmp/x /proc/sys/kernel/random/uuid' >"$work/1" &
	lab --no-input -- sh -c 'echo 2 >/tmp/x; sleep 1; cat /tmp/x /proc/sys/kernel/random/uuid' >"$work/2"
	wait $!
	[ "$(head -n 1 "$work/1")" = 1 ]
	[ "$(head -n 1 "$work/2")" = 2 ]
	[ "$(tail -n 1 "$work/1")" != "$(tail -n 1 "$work/2")" ]
}

@test "a command that takes too long is stopped with status 124" {
	run "$BATS_TEST_DIRNAME/lab" --no-input --timeout 3 -- sleep 100
	[ "$status" = 124 ]
	[[ $output == *"took longer than 3 s"* ]]
}

@test "a lab that dies is repeated once, and then it is status 125" {
	run lab --no-input -- sh -c "echo >>$work/times; echo b >/proc/sysrq-trigger; sleep 10"
	[ "$status" = 125 ]
	[[ $output == *"repeating the command once"* ]]
	[ "$(wc -l <"$work/times")" = 2 ]
}

@test "ending the launcher ends its QEMU" {
	"$BATS_TEST_DIRNAME/lab" --no-input -- sh -c "echo up >$work/up; sleep 1000" &
	pid=$!
	for _ in $(seq 200); do
		[ ! -e "$work/up" ] || break
		sleep 0.1
	done
	qemu=$(cat "/proc/$pid/task/$pid/children")
	[ -d "/proc/${qemu% }" ]
	kill -9 "$pid"
	wait "$pid" || true
	for _ in $(seq 50); do
		[ -d "/proc/${qemu% }" ] || break
		sleep 0.1
	done
	[ ! -d "/proc/${qemu% }" ]
}

@test "a terminal has its size and passes the exit status" {
	run script -qec "stty rows 33 cols 101; $BATS_TEST_DIRNAME/lab -- sh -c 'stty size; tty; exit 9'" /dev/null
	[ "$status" = 9 ]
	[[ $output == *"33 101"*"/dev/pts/0"* ]]
}
