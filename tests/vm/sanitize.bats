#!/usr/bin/env bats
# Guests under builds of microvm that watch themselves: addresses and undefined behaviour, threads.
# lab: timeout=900
# shellcheck disable=SC2016,SC2030,SC2031,SC2034,SC2154 # the guest expands it; guest.bash has the rest

setup() {
	load guest
	quick_kernel
	export VMM=$BATS_TEST_TMPDIR/microvm
}

teardown() {
	stop_leftovers
}

work='mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt || exit 1
cp -a /usr/bin/. /mnt; sync
fio --name=x --directory=/mnt --numjobs=2 --size=4M --direct=1 --ioengine=libaio --iodepth=16 --rw=randrw \
	--bsrange=4k-64k --verify=crc32c --verify_fatal=1 --minimal >/tmp/log || { cat /tmp/log; exit 1; }
umount /mnt; blkdiscard /dev/vdb; dd if=/dev/urandom of=/dev/vdc bs=512 count=1 2>/dev/null && exit 2
head -c 64 /dev/hwrng >/dev/null || exit 3
for i in $(seq 500); do echo "line $i"; done
exit 42'

# clean: nothing on standard error that a sanitizer would write.
clean() {
	! grep -E 'Sanitizer|runtime error|SUMMARY' "$log"
}

# one_guest OPTION...: the work is done, and nothing was said.
one_guest() {
	image=$(disk sanitized 128M)
	read_only=$(disk read-only 1M),ro
	LIMIT=300s guest "$work" --disk "$image" --disk "$read_only" --cpus 2 --workers 2 "$@"
	clean
	[ "$status" = 42 ]
	has 'line 500'
}

@test "addresses and undefined behaviour: a guest with disks and a network" {
	ln -s "$MICROVM_ASAN" "$VMM"
	one_guest --net user
}

@test "addresses and undefined behaviour: the other ways a machine ends" {
	ln -s "$MICROVM_ASAN" "$VMM"
	guest 'poweroff -f'
	clean
	[ "$status" = "$(status_of POWERED_OFF)" ]
	guest 'echo c >/proc/sysrq-trigger' --net user --no-sandbox
	clean
	[ "$status" = "$(status_of PANICKED)" ]
	image=$(disk stopped 64M)
	start_guest 'echo ready; dd if=/dev/zero of=/dev/vdb bs=64k; sleep 100' --disk "$image" --cpus 2
	await_word ready
	kill "$vm"
	end_guest
	clean
	[ "$status" = 143 ]
	guest true --disk "$BATS_TEST_TMPDIR/none"
	clean
	[ "$status" = "$(status_of IMAGE)" ]
}

@test "threads: a guest with disks and a network" {
	# Its shadow memory wants the addresses where they are without randomization.
	printf '#!/bin/sh\nexec setarch -R "%s" "$@"\n' "$MICROVM_TSAN" >"$VMM"
	chmod +x "$VMM"
	one_guest --net user
}

@test "threads: stopped in the midst of its work" {
	printf '#!/bin/sh\nexec setarch -R "%s" "$@"\n' "$MICROVM_TSAN" >"$VMM"
	chmod +x "$VMM"
	image=$(disk stopped 64M)
	start_guest 'echo ready; dd if=/dev/zero of=/dev/vdb bs=64k; sleep 100' --disk "$image" --cpus 2 --workers 2
	await_word ready
	kill "$vm"
	end_guest
	clean
	[ "$status" = 143 ]
}
