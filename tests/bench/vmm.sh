# Sourced by run: how each program is started. WHO is one of
#   ours          microvm
#   auto          microvm, which makes the initramfs itself
#   qemu          QEMU, disks by io_uring
#   threads       QEMU, disks by its threads
#   vhost         QEMU, the network by the kernel
#   firmware      QEMU, with firmware of ours that speaks in the first instruction
# shellcheck shell=bash disable=SC2154,SC2034 # variables of run

# The words microvm gives every kernel (machine/cmdline.c); QEMU's gets the same.
words="panic=-1 quiet loglevel=3 tsc=reliable no_timer_check 8250.nr_uarts=1 pci=off"
words+=" cryptomgr.notests random.trust_cpu=on"

# QEMU as quick as it gets: no firmware but qboot (which loads the kernel itself), no
# legacy devices that Linux does without. The clock stays for Linux: without one the
# kernel asks for it 40,000 times.
machine="microvm,x-option-roms=off,pit=off,pic=off"
qemu=(qemu-system-x86_64 -accel kvm -cpu host -m "${memory}M" -nodefaults -no-user-config
	-display none -no-reboot)

# start_command WHO: sets the array command to a start of the smallest guest.
start_command() {
	case $1 in
	ours) command=("$MICROVM" run --memory "${memory}M" --kernel "$made/start.elf") ;;
	qemu)
		command=("${qemu[@]}" -M "$machine,rtc=off,isa-serial=on" -bios qboot.rom
			-serial stdio -kernel "$made/start.elf")
		;;
	firmware)
		command=("${qemu[@]}" -M "$machine,rtc=off,isa-serial=on"
			-bios "$made/firmware.bin" -serial stdio)
		;;
	esac
}

# boot_command WHO WORDS [DISK|'' [TAP]]: sets the array command to a boot of Linux.
boot_command() {
	local who=$1 more=$2 disk=${3:-} tap=${4:-} aio=io_uring vhost=off

	case $who in
	ours | auto)
		command=("$MICROVM" run --memory "${memory}M" --kernel "$KERNEL/vmlinuz"
			--rootfs "$root,ro" --append "$more")
		[ "$who" = auto ] && command+=(--modules "$KERNEL/modules") ||
			command+=(--initrd "$tmp/initramfs")
		[ -z "$disk" ] || command+=(--disk "$disk")
		[ -z "$tap" ] || command+=(--net "tap=$tap")
		return
		;;
	threads) aio=threads ;;
	vhost) vhost=on ;;
	esac
	command=("${qemu[@]}" -M "$machine,rtc=on,isa-serial=off" -bios qboot.rom
		-global virtio-mmio.force-legacy=false
		-kernel "$KERNEL/vmlinuz" -initrd "$tmp/initramfs"
		-append "reboot=k $words console=hvc0 root=/dev/vda ro $more"
		-object "iothread,id=io"
		-device virtio-serial-device -chardev "stdio,id=console,signal=off"
		-device "virtconsole,chardev=console" -device virtio-rng-device
		-drive "id=root,file=$root,format=raw,if=none,readonly=on,aio=$aio"
		-device "virtio-blk-device,drive=root,iothread=io")
	[ -z "$disk" ] || command+=(-drive "id=disk,file=$disk,format=raw,if=none,aio=$aio"
		-device "virtio-blk-device,drive=disk,iothread=io")
	[ -z "$tap" ] || command+=(
		-netdev "tap,id=net,ifname=$tap,script=no,downscript=no,vhost=$vhost"
		-device "virtio-net-device,netdev=net")
}

# measure SECONDS [STOPWATCH OPTIONS]: runs command; its numbers go to the array
# numbers. Fails, and shows the end of what was said, where nothing was heard.
measure() {
	local limit=$1 line
	shift
	if line=$("$made/stopwatch" -t "$limit" -o "$tmp/out" -e "$tmp/err" "$@" -- "${command[@]}"); then
		read -ra numbers <<<"$line"
		return 0
	fi
	say "failed: ${command[*]}"
	tail -n 20 "$tmp/out" "$tmp/err" >&2
	return 1
}
