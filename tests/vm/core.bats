#!/usr/bin/env bats
# The KVM core on a true KVM, its walls, and guests that do not behave.
# lab: memory=8G timeout=600
# shellcheck disable=SC2016,SC2030,SC2031,SC2034,SC2154 # the guest expands it; guest.bash has the rest

setup() {
	load guest
}

teardown() {
	stop_leftovers
}

# unit PROGRAM: a unit test that needs KVM, here where there is a true one.
unit() {
	run "$REPO/build/tests/unit/$1"
	echo "$output"
	[ "$status" = 0 ]
	[[ $output != *SKIPPED* ]]
}

@test "tiny guests" {
	unit vmm/test_vmm_guests
}

@test "the queues of devices on workers" {
	unit virtio/test_virtio_workers
}

# field PID NAME: from the status of every thread of a process, "NAME VALUE" of the thread each.
field() {
	local task

	for task in "/proc/$1/task/"*; do
		# One of the kernel's for io_uring may have gone meanwhile.
		sed -n "s/^Name:\s*//p; s/^$2:\s*//p" "$task/status" 2>/dev/null | paste -sd' ' | grep . || true
	done | sort
}

@test "behind the walls, no thread has privileges, each has its filter, and no file is open for nothing" {
	image=$(disk walls 8M)
	mkfifo "$BATS_TEST_TMPDIR/leaked"
	exec 9<>"$BATS_TEST_TMPDIR/leaked"
	start_guest 'echo ready; sleep 1000' --disk "$image" --cpus 2 --workers 2
	exec 9>&-
	await_word ready
	threads=$(field "$vm" Name | cut -d' ' -f1 | grep -v ^iou-wrk | xargs) # those are the kernel's
	echo "threads: $threads"
	[ "$threads" = "microvm vcpu0 vcpu1 worker0 worker1" ]
	for pair in Seccomp=2 NoNewPrivs=1 CapEff=0000000000000000 CapPrm=0000000000000000 \
		CapInh=0000000000000000 CapBnd=0000000000000000 CapAmb=0000000000000000; do
		echo "$pair"
		field "$vm" "${pair%=*}"
		[ "$(field "$vm" "${pair%=*}" | cut -d' ' -f2 | sort -u)" = "${pair#*=}" ]
	done
	find "/proc/$vm/fd" -type l -printf '%l\n' >"$BATS_TEST_TMPDIR/open"
	cat "$BATS_TEST_TMPDIR/open"
	for gone in "$KERNEL" "$(readlink -f "$KERNEL")" "$BATS_TEST_TMPDIR/leaked" /dev/kvm initramfs; do
		if grep -F "$gone" "$BATS_TEST_TMPDIR/open"; then
			return 1
		fi
	done
	kill "$vm"
	end_guest
	[ "$status" = 143 ]
}

@test "--no-sandbox works, says so, and does as it says" {
	start_guest 'echo ready; sleep 3; exit 5' --no-sandbox
	await_word ready
	[ "$(field "$vm" Seccomp | cut -d' ' -f2 | sort -u)" = 0 ]
	end_guest
	[ "$status" = 5 ]
	grep -q -- --no-sandbox "$log"
}

@test "CPUs go off and come on again, and each takes interrupts" {
	guest 'for round in 1 2; do for i in 1 2 3; do echo 0 >/sys/devices/system/cpu/cpu$i/online || exit 1; done
			nproc
			for i in 1 2 3; do echo 1 >/sys/devices/system/cpu/cpu$i/online || exit 2; done
			nproc
		done
		for i in 0 1 2 3; do taskset $((1 << i)) sleep 0.1 || exit 3; done
		taskset 8 dd if=/dev/vda of=/dev/null bs=64k count=16 iflag=direct 2>/dev/null || exit 4' --cpus 4
	[ "$status" = 0 ]
	[ "$(grep -c '^1$' <<<"$output")" = 2 ]
	[ "$(grep -c '^4$' <<<"$output")" = 2 ]
}

@test "the guest has entropy from the host" {
	guest 'cat /sys/class/misc/hw_random/rng_current; head -c 64 /dev/hwrng | sha256sum; head -c 64 /dev/hwrng | sha256sum'
	[ "$status" = 0 ]
	[[ $output == virtio_rng* ]]
	[ "$(sort -u <<<"$output" | wc -l)" = 3 ]
}

@test "as many devices as there may be" {
	options=()
	for i in 1 2 3 4 5 6 7; do
		options+=(--disk "$(disk "many$i" 1M)")
	done
	guest 'for i in b c d e f g h; do echo $i >/dev/vd$i || exit 1; done; sync
		ls /sys/bus/virtio/devices | wc -l; ls /sys/class/net | grep -c eth' "${options[@]}" \
		--net user --net user --net user --net user --workers 4 --cpus 2
	[ "$status" = 0 ]
	has 14
	has 4
	for i in b c d e f g h; do
		[ "$(tr -d '\0' <"$SCRATCH/many$(($(printf %d "'$i") - 97))")" = "$i" ]
	done
}

# Registers of virtio-mmio (virtio 1.2, 4.2.2), of the second disk: console, entropy and root disk
# come before it.
@test "a driver that writes nonsense into a device's registers loses that device only" {
	APPEND=iomem=relaxed # a driver has claimed them
	image=$(disk victim 8M)
	guest 'at=0xd0003
		devmem ${at}000 32 >/dev/null || exit 77
		dd if=/dev/vdb of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null || exit 1
		for value in 0xffffffff 0x80000000 0x12345 1; do
			for register in 014 020 024 030 038 044 050 064 070 080 084 090 094 0a0 0a4 0ac 0b0 0c0 0fc 100 104 1fc; do
				devmem $at$register 32 $value
				devmem $at$register 8 $value
				devmem $at$register 64 $value
			done
		done >/dev/null 2>&1
		devmem ${at}050 32 0
		dd if=/dev/vda of=/dev/null bs=4k count=64 iflag=direct 2>/dev/null || exit 2
		head -c 8 /dev/hwrng >/dev/null || exit 3
		exit 9' --disk "$image"
	[ "$status" != 77 ] || skip "this kernel has no /dev/mem"
	[ "$status" = 9 ]
}
