#!/usr/bin/env bats
# How a machine ends, what that is as an exit status, and that nothing is left over.
# lab: timeout=600
# shellcheck disable=SC2016,SC2030,SC2031,SC2154 # the guest expands it; tests are subshells

setup() {
	load guest
}

teardown() {
	stop_leftovers
}

@test "the guest's status comes through: 0, 1, 42, 255" {
	quick_kernel
	for code in 0 1 42 255; do
		guest "exit $code"
		[ "$status" = "$code" ]
	done
}

@test "a guest that powers off ends with its status" {
	guest 'poweroff -f'
	[ "$status" = "$(status_of POWERED_OFF)" ]
}

@test "a guest that reboots ends with its status" {
	guest 'reboot -f'
	[ "$status" = "$(status_of REBOOTED)" ]
}

@test "a kernel panic ends with its status, and the kernel's words are seen" {
	guest 'echo c >/proc/sysrq-trigger; sleep 60'
	[ "$status" = "$(status_of PANICKED)" ]
	[[ $output == *"sysrq triggered crash"* ]]
}

@test "a panic for want of a root is a panic, too" {
	mkdir "$BATS_TEST_TMPDIR/empty"
	(cd "$BATS_TEST_TMPDIR/empty" && echo . | cpio --quiet -o -H newc) >"$BATS_TEST_TMPDIR/initrd"
	MODULES='' guest true --initrd "$BATS_TEST_TMPDIR/initrd"
	[ "$status" = "$(status_of PANICKED)" ]
	[[ $output == *"Unable to mount root"* ]]
}

@test "a processor that gives up (triple fault) is no clean end" {
	APPEND=reboot=t guest 'reboot -f'
	[ "$status" = "$(status_of PANICKED)" ]
}

@test "--timeout ends a guest that would go on, on time" {
	quick_kernel
	start=$SECONDS
	LIMIT=6s guest 'sleep 1000'
	[ "$status" = "$(status_of TIMED_OUT)" ]
	[ $((SECONDS - start)) -ge 6 ]
	[ $((SECONDS - start)) -lt 60 ] # a busy machine takes its time
}

@test "SIGTERM ends a guest that spins on all its CPUs" {
	quick_kernel
	start_guest 'echo ready; while :; do :; done & while :; do :; done & while :; do :; done' --cpus 2
	await_word ready
	kill "$vm"
	end_guest
	[ "$status" = 143 ]
}

@test "SIGINT and SIGHUP end it with 128 and their number" {
	quick_kernel
	for signal in INT HUP; do
		number=$(kill -l $signal)
		start_guest 'echo ready; sleep 1000'
		await_word ready
		kill -s "$signal" "$vm"
		end_guest
		[ "$status" = $((128 + number)) ]
	done
}

@test "an image in use is refused, until it is free again" {
	quick_kernel
	image=$(disk shared 8M)
	start_guest 'echo ready; read x </dev/hvc0; exit 3' --disk "$image"
	await_word ready
	first=$vm
	vm=
	log=$BATS_TEST_TMPDIR/second guest true --disk "$image"
	[ "$status" = "$(status_of BUSY)" ]
	grep -q "$image" "$BATS_TEST_TMPDIR/second"
	log=$BATS_TEST_TMPDIR/third guest true --disk "$image,ro"
	[ "$status" = "$(status_of BUSY)" ]
	kill "$first"
	wait "$first" || true
	guest 'exit 5' --disk "$image"
	[ "$status" = 5 ]
}

@test "an image may be read by several" {
	quick_kernel
	image=$(disk shared 8M)
	start_guest 'echo ready; sleep 1000' --disk "$image,ro"
	await_word ready
	first=$vm
	vm=
	log=$BATS_TEST_TMPDIR/second guest 'exit 5' --disk "$image,ro"
	[ "$status" = 5 ]
	log=$BATS_TEST_TMPDIR/third guest true --disk "$image"
	[ "$status" = "$(status_of BUSY)" ]
	kill "$first"
	wait "$first" || true
}

@test "nothing is left over" {
	quick_kernel
	mkdir "$BATS_TEST_TMPDIR/empty" "$SCRATCH/images"
	image=$(disk images/left 8M)
	cd "$BATS_TEST_TMPDIR/empty"
	list() {
		find . /dev/shm /run "$SCRATCH" | sort
		cat /proc/locks
		ip -o link | cut -d: -f2
	}
	list >"$BATS_TEST_TMPDIR/before"
	export TMPDIR=$PWD
	guest 'exit 7' --disk "$image"
	[ "$status" = 7 ]
	LIMIT=1s guest 'sleep 100' --disk "$image"
	[ "$status" = "$(status_of TIMED_OUT)" ]
	list >"$BATS_TEST_TMPDIR/after"
	diff "$BATS_TEST_TMPDIR/before" "$BATS_TEST_TMPDIR/after"
	[ -z "$(pgrep -x microvm)" ]
}

@test "kill -9 leaves nothing over but the guest's own unwritten data" {
	quick_kernel
	image=$(disk killed 8M)
	start_guest 'echo ready; sleep 1000' --disk "$image"
	await_word ready
	kill -9 "$vm"
	end_guest
	[ "$status" = 137 ]
	[ -z "$(pgrep -x microvm)" ]
	guest 'exit 5' --disk "$image"
	[ "$status" = 5 ]
}
