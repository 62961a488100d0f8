#!/usr/bin/env bats
# Kernels of each kind come up, with the machine they were promised.
# lab: memory=8G timeout=900
# shellcheck disable=SC2016,SC2030,SC2031,SC2034,SC2154 # the guest expands it; guest.bash has the rest

setup() {
	load guest
}

teardown() {
	stop_leftovers
}

# What a guest finds in its machine, for looks_right.
look='nproc
grep -c "^flags.* hypervisor" /proc/cpuinfo
sed -n "s/^MemTotal: *\([0-9]*\) kB/mem \1/p" /proc/meminfo
grep "System RAM" /proc/iomem | tail -n 1
echo "release $(uname -r)"
echo "text $(sed -n "s/ T _text$//p" /proc/kallsyms)"
seq 2000000 >/tmp/x; md5sum /tmp/x
echo "clock $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource) $(date +%s)"
exit 42'

# looks_right CPUS MEBIBYTES: what $look printed is true.
looks_right() {
	local memory clock now

	[ "$status" = 42 ]
	has "$1"
	memory=$(sed -n 's/^mem //p' <<<"$output")
	# The kernel's own image, its page descriptors and the like are not in MemTotal.
	[ "$memory" -le $(($2 * 1024)) ]
	[ "$memory" -ge $(($2 * 960 - 32 * 1024)) ]
	if [ "$2" -gt 3072 ]; then # the rest is above 4 GiB, up to the last byte
		grep -q "^100000000-$(printf %x $((($2 + 1024) * 1048576 - 1))) : System RAM" <<<"$output"
	fi
	read -r _ clock now <<<"$(grep ^clock <<<"$output")"
	[[ $clock == kvm-clock || $clock == tsc ]]
	now=$(($(date +%s) - now))
	[ "${now#-}" -le 30 ]
	has "$(seq 2000000 | md5sum | cut -d' ' -f1)  /tmp/x"
}

# is_unpacked YES: was the kernel unpacked by us (and is it kept), and does nobody know where it is?
is_unpacked() {
	[ "$(find "$BATS_TEST_TMPDIR/cache" -path '*/kernel/*-*' 2>/dev/null | wc -l)" = "$1" ]
	[[ $output == *"text ffffffff"* && $output != *"text ffffffff81000000"* ]]
}

@test "Debian's 6.1: one CPU and 256 MiB, unpacked by us" {
	XDG_CACHE_HOME=$BATS_TEST_TMPDIR/cache guest "$look" --memory 256M
	looks_right 1 256
	[[ $output == *"release 6.1."* ]]
	is_unpacked 1
}

# Without a cache the bzImage is started as it is, and unpacks itself.
@test "Debian's 6.1: four CPUs and 5 GiB, the bzImage as it is" {
	XDG_CACHE_HOME=/dev/null guest "$look" --cpus 4 --memory 5G
	looks_right 4 5120
	is_unpacked 0
}

@test "Debian's 6.12: one CPU and 256 MiB, the bzImage as it is" {
	KERNEL=$KERNEL_6_12 MODULES=$MODULES_6_12
	XDG_CACHE_HOME=/dev/null guest "$look" --memory 256M
	looks_right 1 256
	[[ $output == *"release 6.12."* ]]
	is_unpacked 0
}

@test "Debian's 6.12: four CPUs and 5 GiB, unpacked by us" {
	KERNEL=$KERNEL_6_12 MODULES=$MODULES_6_12
	XDG_CACHE_HOME=$BATS_TEST_TMPDIR/cache guest "$look" --cpus 4 --memory 5G
	looks_right 4 5120
	is_unpacked 1
}

# small_kernel HW: boots it both ways, each with a machine of another size.
small_kernel() {
	[ -n "$KERNEL_SMALL" ] || skip "there is no small kernel: ./dev kernel small makes it"
	MODULES=
	KERNEL=$KERNEL_SMALL
	XDG_CACHE_HOME=/dev/null guest "$look" --memory 256M --hw "$1" # not unpacked by us
	looks_right 1 256
	KERNEL=$VMLINUX_SMALL
	guest "$look" --cpus 4 --memory 5G --hw "$1"
	looks_right 4 5120
}

@test "a small kernel told by ACPI, bzImage and ELF" {
	small_kernel acpi
}

@test "a small kernel told by a device tree, bzImage and ELF" {
	small_kernel fdt
}

@test "a small kernel told by its command line, bzImage and ELF" {
	small_kernel cmdline
}

# make_initrd FILE MODULES: one whose init loads the drivers of the console and of disks, and says
# what it finds; with a root disk it goes on to that one's init.
make_initrd() {
	local root=$BATS_TEST_TMPDIR/initrd name file

	mkdir -p "$root"/{bin,dev,proc,sys,root,lib}
	cp "$(command -v busybox)" "$root/bin/busybox"
	from_image "$ROOTFS" /sbin/vmexit >"$root/bin/vmexit"
	for name in virtio_ring virtio virtio_mmio virtio_console virtio_blk crc16 crc32c_generic libcrc32c \
		jbd2 mbcache ext4; do
		while read -r file; do
			case $file in
			*.xz) xz -dc "$file" >"$root/lib/$name.ko" ;;
			*) cp "$file" "$root/lib/$name.ko" ;;
			esac
			echo "insmod /lib/$name.ko" >>"$root/load"
		done < <(find -L "$2" -name "$name.ko*")
	done
	cat >"$root/init" <<-'END'
		#!/bin/busybox sh
		/bin/busybox --install -s /bin
		mount -t devtmpfs dev /dev
		mount -t proc proc /proc
		sh /load
		exec >/dev/hvc0 2>&1
		echo "initrd on $(uname -r)"
		if grep -qw only.initrd /proc/cmdline; then
			vmexit 43
		fi
		mount -t ext4 -o ro /dev/vda /root || vmexit 44
		umount /proc
		mount -o move /dev /root/dev
		exec switch_root /root /sbin/init
	END
	chmod +x "$root/init" "$root/bin/vmexit"
	(cd "$root" && find . | cpio --quiet -o -H newc) >"$1"
}

@test "an initrd by name, and no disk at all" {
	make_initrd "$BATS_TEST_TMPDIR/initrd.cpio" "$MODULES"
	run "$MICROVM" run --kernel "$KERNEL" --initrd "$BATS_TEST_TMPDIR/initrd.cpio" \
		--append only.initrd --timeout 60s </dev/null
	output=$(tr -d '\r' <<<"$output")
	[ "$status" = 43 ]
	[[ $output == *"initrd on 6.1."* ]]
}

@test "an ELF kernel of Debian's, its initrd by name, and a root disk" {
	make_initrd "$BATS_TEST_TMPDIR/initrd.cpio" "$MODULES_6_12"
	KERNEL=$VMLINUX_6_12 MODULES=
	guest "$look" --cpus 2 --initrd "$BATS_TEST_TMPDIR/initrd.cpio"
	[[ $output == *"initrd on 6.12."* ]]
	looks_right 2 512
}

@test "a root disk is writable, and read-only if that is asked for" {
	cp "$ROOTFS" "$SCRATCH/root"
	ROOT=$SCRATCH/root guest 'echo new >/made && cat /sys/block/vda/ro && echo good'
	[ "$status" = 0 ]
	has 0
	has good
	[ "$(from_image "$SCRATCH/root" /made)" = new ]
	sum=$(sha256sum <"$SCRATCH/root")
	ROOT=$SCRATCH/root,ro guest '
		cat /sys/block/vda/ro
		cat /made
		echo newer >/made && exit 1
		mount -o remount,rw / && exit 2
		dd if=/dev/zero of=/dev/vda bs=4k count=1 2>/dev/null && exit 3
		exit 9'
	[ "$status" = 9 ]
	has 1
	has new
	[ "$(sha256sum <"$SCRATCH/root")" = "$sum" ]
}

@test "32 CPUs" {
	quick_kernel
	guest 'nproc; cat /sys/devices/system/cpu/online; for i in $(seq 0 31); do
		taskset $(printf %x $((1 << i))) cut -d" " -f39 /proc/self/stat; done | sort -n | uniq | tr "\n" ,' \
		--cpus 32 --memory 1G
	[ "$status" = 0 ]
	has 32
	has 0-31
	has "$(seq -s , 0 31),"
}

@test "a disk without an init is said to be one" {
	image=$(disk bare 32M)
	mke2fs -q -t ext4 "$image"
	ROOT=$image guest true
	[ "$status" = 255 ]
	[[ $output == *"microvm init: "*"no init"* ]]
}

@test "a disk without a file system is said to be one" {
	image=$(disk bare 32M)
	ROOT=$image guest true
	[ "$status" != 0 ]
	[[ $output$(cat "$log") == *"file system"* ]]
}
