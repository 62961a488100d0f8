#!/usr/bin/env bats
# Disks: what the guest writes is in the image, and nothing else is.
# lab: timeout=900
# shellcheck disable=SC2016,SC2030,SC2031,SC2034,SC2154 # the guest expands it; guest.bash has the rest

setup() {
	load guest
	export PATH=$PATH:/usr/sbin:/sbin
}

teardown() {
	stop_leftovers
}

@test "a file system made in the guest is whole on the host, with the same content" {
	image=$(disk made 512M)
	guest 'mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt && cd /mnt || exit 1
		cp -a /usr/bin/. ./bin
		head -c 48m /dev/urandom >big
		for i in $(seq 200); do echo "file $i" >small.$i; done
		sync
		sha256sum big bin/fio small.200
		cd /; umount /mnt' --disk "$image" --cpus 2 --workers 2
	[ "$status" = 0 ]
	check_fs "$image"
	for file in big bin/fio small.200; do
		has "$(from_image "$image" "$file" | sha256sum | cut -d' ' -f1)  $file"
	done
	[ "$(from_image "$image" bin/fio | sha256sum)" = "$(from_image "$ROOTFS" /usr/bin/fio | sha256sum)" ]
}

@test "a file system made on the host reads the same in the guest" {
	mkdir "$BATS_TEST_TMPDIR/tree"
	head -c 20000001 /dev/urandom >"$BATS_TEST_TMPDIR/tree/big"
	for i in $(seq 50); do head -c $((i * 1021)) /dev/urandom >"$BATS_TEST_TMPDIR/tree/f$i"; done
	mke2fs -q -t ext4 -d "$BATS_TEST_TMPDIR/tree" "$(disk host 64M)"
	guest 'mount -o ro /dev/vdb /mnt; cd /mnt; sha256sum big f* | sort' --disk "$SCRATCH/host,ro"
	[ "$status" = 0 ]
	[ "$output" = "$(cd "$BATS_TEST_TMPDIR/tree" && sha256sum big f* | sort)" ]
}

@test "what was synced is there although nothing was unmounted" {
	mke2fs -q -t ext4 "$(disk synced 64M)"
	guest 'mount /dev/vdb /mnt; head -c 5m /dev/urandom >/mnt/data; sha256sum </mnt/data; sync
		vmexit 6' --disk "$SCRATCH/synced"
	[ "$status" = 6 ]
	e2fsck -fp "$SCRATCH/synced" || [ $? = 1 ]
	has "$(from_image "$SCRATCH/synced" data | sha256sum)"
}

@test "fio with verification: random sizes, several queues" {
	image=$(disk fio 256M)
	guest 'ls /sys/block/vdb/mq | wc -l
		fio --name=x --filename=/dev/vdb --numjobs=4 --size=8M --offset_increment=64M --direct=1 \
		--ioengine=libaio --iodepth=32 --rw=randrw --rwmixread=30 --bsrange=512-128k \
		--verify=crc32c --verify_fatal=1 --randrepeat=0 --group_reporting --minimal >/tmp/log ||
		{ cat /tmp/log; exit 1; }
		cat /sys/block/vdb/inflight' --disk "$image" --cpus 2 --workers 2
	[ "$status" = 0 ]
	has 2
	[ "$(du -m "$image" | cut -f1)" -ge 15 ]
}

@test "fio with verification: through the page cache, io_uring, one queue, fsync" {
	image=$(disk fio 128M)
	guest 'fio --name=x --filename=/dev/vdb --size=8M --ioengine=io_uring --iodepth=16 --rw=randwrite \
		--bs=4k --fsync=64 --verify=crc32c --verify_fatal=1 --randrepeat=0 --minimal >/tmp/log ||
		{ cat /tmp/log; exit 1; }' --disk "$image"
	[ "$status" = 0 ]
}

@test "fio with verification while it discards" {
	image=$(disk fio 64M)
	guest 'fio --name=x --filename=/dev/vdb --size=8M --direct=1 --ioengine=libaio --iodepth=8 \
		--rw=randtrimwrite --bs=16k --verify=crc32c --verify_fatal=1 --randrepeat=0 --minimal >/tmp/log ||
		{ cat /tmp/log; exit 1; }' --disk "$image" --cpus 2 --workers 2
	[ "$status" = 0 ]
}

@test "discarded space goes back to the host and reads as zeroes, as does what is zeroed" {
	image=$(disk holes 32M)
	head -c 32M /dev/urandom >"$image"
	sync "$image"
	sum=$(tail -c 8M "$image" | sha256sum)
	guest 'blkdiscard -o 0 -l 16777216 /dev/vdb && echo discarded
		fallocate -o 16777216 -l 8388608 /dev/vdb 2>&1
		cat /sys/block/vdb/queue/discard_max_bytes /sys/block/vdb/queue/write_zeroes_max_bytes
		head -c 16m /dev/vdb | sha256sum' --disk "$image"
	[ "$status" = 0 ]
	has discarded
	has "$(head -c 16M /dev/zero | sha256sum)"
	[ "$(head -c 16M "$image" | sha256sum)" = "$(head -c 16M /dev/zero | sha256sum)" ]
	[ "$(tail -c 8M "$image" | sha256sum)" = "$sum" ]
	[ "$(stat -c %s "$image")" = 33554432 ]
	[ "$(du -m "$image" | cut -f1)" -le 17 ]
}

@test "seven disks are there in order, the read-only ones refuse writes" {
	options=()
	for i in 1 2 3 4 5 6 7; do
		image=$(disk "many$i" "${i}M")
		printf '%-512s' "disk $i" >"$BATS_TEST_TMPDIR/head"
		dd if="$BATS_TEST_TMPDIR/head" of="$image" conv=notrunc status=none
		[ $((i % 2)) = 0 ] && image+=,ro
		options+=(--disk "$image")
	done
	guest 'n=0; for i in b c d e f g h; do
			d=/sys/block/vd$i
			echo "vd$i $(head -c 6 /dev/vd$i) $(($(cat $d/size) / 2048)) ro=$(cat $d/ro) $(cat $d/serial)"
			dd if=/dev/zero of=/dev/vd$i bs=512 seek=1 count=1 conv=fsync 2>/dev/null && n=$((n + 1))
		done; exit $n' "${options[@]}"
	[ "$status" = 4 ]
	i=0
	for letter in b c d e f g h; do
		i=$((i + 1))
		has "vd$letter disk $i $i ro=$((1 - i % 2)) blk$i"
	done
}

@test "a size that is no multiple of 4 KiB: the last sector can be read and written" {
	image=$(disk odd $((1048576 + 512)))
	guest 'echo last | dd of=/dev/vdb bs=512 seek=2048 conv=sync,fsync 2>/dev/null || exit 1
		dd if=/dev/vdb bs=512 skip=2048 2>/dev/null | head -n 1
		dd if=/dev/zero of=/dev/vdb bs=512 seek=2049 count=1 2>/dev/null && exit 2
		cat /sys/block/vdb/size' --disk "$image"
	[ "$status" = 0 ]
	has last
	has 2049
	[ "$(tail -c 512 "$image" | head -n 1)" = last ]
}

@test "a block device of the host is a disk, too" {
	image=$(disk loop 8M)
	loop=$(losetup --show -f "$image")
	guest 'echo through >/dev/vdb; sync; blkdiscard -o 4194304 -l 4194304 /dev/vdb; cat /sys/block/vdb/size' --disk "$loop"
	losetup -d "$loop"
	[ "$status" = 0 ]
	has 16384
	[ "$(head -n 1 "$image" | tr -d '\0')" = through ]
}

@test "a host without space, and an image that was cut, are I/O errors of the guest and no more" {
	mkdir -p "$BATS_TEST_TMPDIR/full"
	mount -t tmpfs -o size=4m tmpfs "$BATS_TEST_TMPDIR/full"
	truncate -s 64M "$BATS_TEST_TMPDIR/full/image"
	image=$(disk cut 8M)
	start_guest 'dd if=/dev/urandom of=/dev/vdb bs=1M count=16 conv=fsync 2>/dev/null && exit 1
		echo refused
		until [ "$(head -c 5 /dev/vda | wc -c)" = 5 ] && [ -e /dev/vdc ]; do sleep 1; done
		head -c 4096 /dev/vdc | wc -c
		echo ready
		while dd if=/dev/vdc of=/dev/null bs=4k skip=1024 count=1 iflag=direct 2>/dev/null; do sleep 1; done
		head -c 4096 /dev/vdb | wc -c
		exit 7' --disk "$BATS_TEST_TMPDIR/full/image" --disk "$image"
	await_word ready
	truncate -s 1M "$image"
	end_guest
	umount "$BATS_TEST_TMPDIR/full"
	[ "$status" = 7 ]
	has refused
}

@test "killed with -9 while it writes: the journal mends it, and it boots again with all that was synced" {
	cp "$ROOTFS" "$SCRATCH/killed"
	export ROOT=$SCRATCH/killed
	start_guest 'mkdir /data; i=0
		while i=$((i + 1)); do
			head -c $((i % 7 * 10000 + 1)) /dev/urandom >/data/$i
			sync /data/$i /data
			echo "synced $i $(sha256sum </data/$i)"
			[ $i -gt 5 ] && rm /data/$((i - 5))
		done' --cpus 2
	await_word '^synced 40 '
	kill -9 "$vm"
	end_guest
	[ "$status" = 137 ]
	e2fsck -fp "$SCRATCH/killed" || [ $? = 1 ]
	check_fs "$SCRATCH/killed"
	last=$(grep '^synced' <<<"$output" | grep -E ' -$' | tail -n 1)
	read -r _ number sum _ <<<"$last"
	guest "sha256sum </data/$number; echo again >/data/again"
	[ "$status" = 0 ]
	has "$sum  -"
	check_fs "$SCRATCH/killed"
	[ "$(from_image "$SCRATCH/killed" /data/again)" = again ]
}
