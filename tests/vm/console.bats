#!/usr/bin/env bats
# lab: memory=2G timeout=900
# The console: pipes, files, terminals, both devices. (What nothing can be done about is SIGKILL: the
# terminal stays raw, as the manual says.)
# shellcheck disable=SC2016,SC2030,SC2031,SC2154 # the guest expands it; tests are subshells

load guest

setup() {
	cd "$BATS_TEST_TMPDIR"
	mkfifo in
}

teardown() {
	stop_leftovers
}

# What a guest's shell on the console begins with: a terminal that lets every byte through.
raw='exec </dev/hvc0 >/dev/hvc0 2>&1; stty raw -echo; echo ready'

# interactive [OPTION...]: the words of a command, quoted for a shell: microvm with a shell on its
# console.
interactive() {
	printf '%q ' "$MICROVM" run --kernel "$KERNEL" --modules "$MODULES" --rootfs "$ROOTFS,ro" \
		--timeout 120s "$@"
}

# on_terminal COMMANDS: runs them on a terminal that gets what is written to descriptor 9, and whose
# screen is the file "out".
on_terminal() {
	script -qefc "$1" /dev/null <in >out 2>&1 3>&- &
	vm=$!
	exec 9>in
}

end_terminal() {
	status=0
	wait "$vm" || status=$?
	vm=
	exec 9>&-
	cat -v out
	echo "status $status"
}

@test "what is piped in before the guest listens is not lost" {
	status=0
	printf 'echo one $((40 + 2))\nuname -s\nexit 5\n' | (eval "exec $(interactive)") >out 2>"$log" || status=$?
	cat -v out "$log"; echo "status $status"
	[ "$status" = 5 ]
	tr -d '\r' <out | grep -qx 'one 42'
	tr -d '\r' <out | grep -qx Linux
}

@test "200 KB there and back, every byte value" {
	# All but Ctrl-O: Linux keeps it, and the byte behind it, for itself (SysRq on its console).
	head -c 120000 /dev/urandom | tr -d '\017' | head -c 100000 >sent
	(microvm_run "$raw; head -c 100000 >/tmp/got; md5sum </tmp/got; head -c 3 >/dev/null; cat /tmp/got" \
		--timeout 120s) <in >out 2>"$log" 3>&- &
	vm=$!
	exec 9>in
	await_word ready
	cat sent >&9
	await_word ' -'
	printf 'go\n' >&9
	end_guest >/dev/null
	exec 9>&-
	[ "$status" = 0 ]
	grep -qF "$(md5sum <sent)" <<<"$output"
	tail -c 100000 out | cmp - sent
}

@test "a slow reader gets everything" {
	status=0
	# Far more than the pipe and the console's buffer hold, in big pieces.
	(microvm_run "$raw; seq 1 35000" --timeout 300s) </dev/null 2>"$log" 3>&- |
		(sleep 15; tail -n +2 >out) || status=$?
	cat "$log"
	seq 1 35000 | cmp - out
}

@test "a reader who has seen enough ends the machine" {
	run bash -c "set -o pipefail; $(interactive --append microvm.demo) </dev/null 2>/dev/null | head -n 1"
	[ "$status" = 141 ]
}

@test "output to a full disk is dropped, and the guest goes on" {
	status=0
	(microvm_run 'seq 1 5000; sh -c "exit 7"' --timeout 60s) </dev/null >/dev/full 2>"$log" 3>&- ||
		status=$?
	cat "$log"
	[ "$status" = 7 ]
	[ "$(wc -l <"$log")" = 1 ]
	grep -q 'cannot write.*No space left' "$log"
}

@test "closed standard input and output" {
	status=0
	(APPEND='' microvm_run 'echo unheard; sh -c "exit 7"' --timeout 60s) <&- >&- 2>"$log" 3>&- || status=$?
	[ "$status" = 7 ]
	[ ! -s "$log" ]
}

@test "--console file= and none" {
	guest 'echo to a file; sh -c "exit 3"' --console "file=$PWD/c.log"
	[ "$status" = 3 ]
	[ -z "$output" ]
	tr -d '\r' <c.log | grep -qx 'to a file'
	guest 'sh -c "exit 4"' --console none
	[ "$status" = 4 ]
	[ -z "$output" ]
}

@test "kernel messages from the first on, each once" {
	APPEND='ignore_loglevel' guest 'echo end'
	[ "$status" = 0 ]
	[ "$(grep -c 'Hypervisor detected: KVM' <<<"$output")" = 1 ]
	[ "$(grep -c 'Run /init as init' <<<"$output")" = 1 ]
	[ "$(grep -c 'mounted filesystem' <<<"$output")" = 1 ]
	has end
}

@test "the serial port as the console: 20 KiB there, 20 KiB back" {
	seq 1 20000 | head -c 20000 >sent
	APPEND='console=ttyS0' LIMIT=200s
	(microvm_run "${raw//hvc0/ttyS0}; head -c 20000 | md5sum; seq 1 4000" --timeout 200s) \
		<in >out 2>"$log" 3>&- &
	vm=$!
	exec 9>in
	await_word ready
	cat sent >&9
	end_guest >/dev/null
	exec 9>&-
	[ "$status" = 0 ]
	grep -qF "$(md5sum <sent)" <<<"$output"
	diff <(seq 1 4000) <(tail -n 4000 <<<"$output")
}

@test "a terminal: its size, Ctrl-C, Ctrl-A x; afterwards it is as it was" {
	on_terminal "tty >tty; stty cols 132 rows 43; stty -a >before
		$(interactive); echo \"left \$?\"; stty -a >after"
	await 120 grep -q 'root #' out
	printf 'stty size </dev/hvc0; sleep 1000\n' >&9
	await 30 grep -q '43 132' out
	stty -F "$(cat tty)" -a | grep -q -- '-icanon'
	stty -F "$(cat tty)" cols 100 rows 30
	printf '\003' >&9
	printf 'stty size </dev/hvc0; echo still $((6 * 7))\n' >&9
	await 30 grep -q 'still 42' out
	grep -q '30 100' out
	printf '\001h' >&9
	await 10 grep -q 'Ctrl-A x' out
	printf '\001x' >&9
	end_terminal
	grep -q "left $(status_of LEFT)" out
	diff <(sed 's/rows.*columns [0-9]*;//' before) <(sed 's/rows.*columns [0-9]*;//' after)
}

@test "the terminal is restored when the guest ends, when it panics, after SIGTERM and a wrong option" {
	local status_6 panic

	status_6=$(interactive --append "$(shell_words 'sh -c "exit 6"')")
	panic=$(interactive --append "$(shell_words 'echo c >/proc/sysrq-trigger')")
	on_terminal "tty >tty; stty -a >before
		$status_6; echo \"one \$?\"; stty -a >after1
		$panic; echo \"two \$?\"; stty -a >after2
		$(interactive --cpus 0); echo \"three \$?\"; stty -a >after3
		sh -c 'echo \$\$ >pid; exec \"\$@\"' _ $(interactive); echo \"four \$?\"; stty -a >after4"
	await 200 grep -q 'root #' out # the shell of the fourth
	stty -F "$(cat tty)" -a | grep -q -- '-icanon'
	kill "$(cat pid)"
	end_terminal
	grep -q 'one 6' out
	grep -q "two $(status_of PANICKED)" out
	grep -q "three $(status_of USAGE)" out
	grep -q 'four 143' out
	for n in 1 2 3 4; do
		diff before "after$n"
	done
}
