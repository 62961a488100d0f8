# Sourced by run: how each program is started. WHO is one of
#   ours          microvm
#   auto          microvm, which makes the initramfs itself
#   qemu          QEMU, disks by io_uring
#   threads       QEMU, disks by its threads
#   vhost         QEMU, the network by the kernel
#   firmware      QEMU, with firmware of ours that speaks in the first instruction
# shellcheck shell=bash disable=SC2154,SC2034 # variables of run

virtiofsd=${VIRTIOFSD:-/usr/lib/qemu/virtiofsd}

# The words microvm gives every kernel (machine/cmdline.c); QEMU's gets the same.
words="panic=-1 quiet loglevel=3 tsc=reliable no_timer_check 8250.nr_uarts=1 pci=off"
words+=" cryptomgr.notests random.trust_cpu=on rcupdate.rcu_expedited=1"
words+=" initcall_blacklist=ftrace_check_for_weak_functions"

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

# What the peer boots in the group job: a process 1 of our own and the six modules it takes.
make_peer() {
	local dir=$tmp/peer n=0 name file line
	local -A seen=()

	mkdir -p "$dir"/{modules,dev,root}
	cp "$made/peer_init" "$dir/init"
	for name in virtio_mmio virtio_console virtiofs; do
		while read -r line file _; do
			[[ $line == insmod && -z ${seen[$file]:-} ]] || continue
			seen[$file]=1
			cp "$file" "$dir/modules/$(printf %02d "$n").ko"
			n=$((n + 1))
		done < <(PATH=$PATH:/sbin:/usr/sbin modprobe -d "$KERNEL" -S "$(cat "$KERNEL/version")" \
			--show-depends "$name")
	done
	(cd "$dir" && find . | cpio -o -H newc --quiet) >"$tmp/peer.cpio"
}

# job_command WHO DIRECTORY OPTIONS WORD...: sets the array command to a run of a command with a
# directory as root. OPTIONS (a list in one word) are microvm's.
job_command() {
	local who=$1 dir=$2 options
	read -ra options <<<"$3"
	shift 3

	if [ "$who" = ours ]; then
		command=("$MICROVM" run --memory "${memory}M" --kernel "$KERNEL/vmlinuz"
			--modules "$KERNEL/modules" --rootfs "$dir" "${options[@]}" -- "$@")
		return
	fi
	command=("$made/peer_virtiofs" "$virtiofsd" "$tmp/fs.sock" "$dir"
		"${qemu[@]}" -M "$machine,rtc=on,isa-serial=off,memory-backend=mem" -bios qboot.rom
		-object "memory-backend-memfd,id=mem,size=${memory}M,share=on"
		-global virtio-mmio.force-legacy=false
		-kernel "$KERNEL/vmlinuz" -initrd "$tmp/peer.cpio"
		-append "reboot=t $words console=hvc0 -- $*"
		-device virtio-serial-device -chardev "stdio,id=console,signal=off"
		-device "virtconsole,chardev=console"
		-chardev "socket,id=fs,path=$tmp/fs.sock"
		-device "vhost-user-fs-device,chardev=fs,tag=root,queue-size=1024")
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
