#!/usr/bin/env bats
# lab: memory=2G timeout=600
# What cannot be meant gets one line that names it and says what to try, a status of its own, and
# leaves nothing half-made behind.

load guest

# Starting programs is what takes time in the lab: the shell does what it can by itself.
setup() {
	local name number

	cd "$BATS_TEST_TMPDIR"
	log=$BATS_TEST_TMPDIR.err said=$BATS_TEST_TMPDIR.out
	: >empty
	printf 'hello\n' >text
	declare -gA status_named
	while read -r name number; do
		status_named[$name]=$number
	done < <(sed -nE 's/^\s*EXIT_(\w+) = ([0-9]+).*/\1 \2/p' "$REPO/cli/status.h")
}

# refused KIND WORDS... -- OPTIONS...: microvm says one line with these words and ends with the
# status of that name; nothing was made, nothing is on standard output.
refused() {
	local kind=$1 words=() word files links lines

	shift
	while [ "$1" != -- ]; do
		words+=("$1")
		shift
	done
	shift
	files=$(echo *) links=$(echo /sys/class/net/*)
	status=0
	"$MICROVM" run "$@" </dev/null >"$said" 2>"$log" || status=$?
	mapfile -t lines <"$log"
	echo "$*: status $status: $(<"$log")"
	[ "$status" = "${status_named[$kind]}" ]
	[ ${#lines[@]} = 1 ]
	[ ! -s "$said" ]
	[ "$files" = "$(echo *)" ]
	[ "$links" = "$(echo /sys/class/net/*)" ]
	[[ ${lines[0]} == 'microvm: error: '* ]]
	for word in "${words[@]}"; do
		[[ ${lines[0]} == *"$word"* ]] || {
			echo "lacks: $word"
			return 1
		}
	done
}

# one_line KIND PATTERN: what `run` ran was refused so.
one_line() {
	echo "status $status: $output"
	[ "$status" = "${status_named[$1]}" ]
	[ "${#lines[@]}" = 1 ]
	# shellcheck disable=SC2053 # a pattern, indeed
	[[ $output == 'microvm: error: '$2 ]]
}

# as_nobody COMMAND...: without privileges; the program and the kernel are where anybody finds them.
as_nobody() {
	setpriv --reuid 65534 --regid 65534 --clear-groups -- "$@"
}

# A folder that anybody may look into, with the program and a kernel.
public() {
	public=$(mktemp -d /tmp/public.XXXXXX)
	chmod 755 "$public"
	cp "$MICROVM" "$public/microvm"
	cp "$KERNEL" "$public/kernel"
	chmod 644 "$public/kernel"
}

teardown() {
	stop_leftovers
	[ -z "${public:-}" ] || rm -r "$public"
}

@test "kernels that are none" {
	refused IMAGE "$PWD/none" -- --kernel "$PWD/none"
	refused IMAGE "$PWD" directory -- --kernel "$PWD"
	refused IMAGE empty -- --kernel empty
	refused IMAGE text -- --kernel text
	refused IMAGE /dev/zero -- --kernel /dev/zero
	refused IMAGE "$ROOTFS" -- --kernel "$ROOTFS"
	refused IMAGE /bin/ls -- --kernel /bin/ls
	MICROVM_KERNEL=$PWD/none refused IMAGE "MICROVM_KERNEL=$PWD/none" -- --cpus 2
}

@test "kernels that are cut off, anywhere" {
	local setup system size at

	# Behind what the header tells of may come a signature, which nobody misses.
	read -r setup < <(od -An -tu1 -j 497 -N 1 "$KERNEL")
	read -r system < <(od -An -tu4 -j 500 -N 4 "$KERNEL")
	size=$(((setup + 1) * 512 + system * 16))
	for at in 1 3 510 512 514 640 700 4096 100000 $((size - system * 16)) $((size / 2)) $((size - 1)); do
		head -c "$at" "$KERNEL" >cut
		refused IMAGE cut -- --kernel cut
		rm cut
	done
	for at in 4 16 52 63 64 65 4096; do
		head -c "$at" "$VMLINUX_6_1" >cut
		refused IMAGE cut -- --kernel cut
		rm cut
	done
}

@test "kernels of another kind: 32-bit, another processor's" {
	cp --sparse=always "$VMLINUX_6_1" other
	printf '\001' | dd of=other bs=1 seek=4 conv=notrunc status=none
	refused IMAGE other 32 -- --kernel other
	printf '\002' | dd of=other bs=1 seek=4 conv=notrunc status=none
	printf '\267' | dd of=other bs=1 seek=18 conv=notrunc status=none
	refused IMAGE other -- --kernel other
}

@test "what may not be read" {
	public
	chmod 600 "$public/kernel"
	run as_nobody "$public/microvm" run --kernel "$public/kernel"
	one_line IMAGE "*$public/kernel*permission*"
}

@test "initrds" {
	truncate -s 600M big
	refused IMAGE none -- --kernel "$KERNEL" --initrd none
	refused IMAGE "$PWD" directory -- --kernel "$KERNEL" --initrd "$PWD"
	refused IMAGE big --memory -- --kernel "$KERNEL" --initrd big
	rm big
}

@test "memory" {
	refused USAGE --memory -- --kernel "$KERNEL" --memory 0
	refused USAGE --memory 12x -- --kernel "$KERNEL" --memory 12x
	refused USAGE --memory -- --kernel "$KERNEL" --memory -512M
	refused USAGE --memory -- --kernel "$KERNEL" --memory 1.5G
	refused USAGE --memory -- --kernel "$KERNEL" --memory 18446744073709551615T
	refused USAGE --memory -- --kernel "$KERNEL" --memory 4097
	refused USAGE --memory -- --kernel "$KERNEL" --memory 1M
	refused IMAGE "$KERNEL" --memory -- --kernel "$KERNEL" --memory 16M
	refused HOST --memory -- --kernel "$KERNEL" --memory 8T
	refused HOST --memory -- --kernel "$KERNEL" --memory 8388608T
}

@test "CPUs" {
	refused USAGE --cpus "'0'" -- --kernel "$KERNEL" --cpus 0
	refused USAGE --cpus 65 -- --kernel "$KERNEL" --cpus 65
	refused USAGE --cpus -- --kernel "$KERNEL" --cpus 4294967297
	refused USAGE --cpus -- --kernel "$KERNEL" --cpus many
}

@test "disks" {
	truncate -s 1000 odd
	refused IMAGE --rootfs none -- --kernel "$KERNEL" --modules "$MODULES" --rootfs none
	refused USAGE --rootfs "$PWD" directory command -- --kernel "$KERNEL" --modules "$MODULES" --rootfs "$PWD"
	refused IMAGE --rootfs empty -- --kernel "$KERNEL" --modules "$MODULES" --rootfs empty
	refused IMAGE --disk none -- --kernel "$KERNEL" --disk none
	refused IMAGE --disk odd 512 -- --kernel "$KERNEL" --disk odd
	refused IMAGE --disk /dev/zero -- --kernel "$KERNEL" --disk /dev/zero
	refused USAGE --disk 7 -- --kernel "$KERNEL" --disk 1 --disk 2 --disk 3 --disk 4 --disk 5 \
		--disk 6 --disk 7 --disk 8
	refused USAGE --rootfs -- --kernel "$KERNEL" --rootfs ,ro
	refused IMAGE "$PWD" -- --kernel "$KERNEL" --modules "$PWD" --rootfs "$ROOTFS,ro"
	rm odd
}

@test "networks" {
	refused HOST none0 'ip tuntap add' -- --kernel "$KERNEL" --net tap=none0
	refused HOST lo tap -- --kernel "$KERNEL" --net tap=lo
	refused USAGE --net -- --kernel "$KERNEL" --net tap=
	refused USAGE --net -- --kernel "$KERNEL" --net tap=longer-than-a-name-may-be
	refused USAGE --net bridge -- --kernel "$KERNEL" --net bridge
	refused USAGE --net hostfwd -- --kernel "$KERNEL" --net user,hostfwd=22
	refused USAGE --net MAC -- --kernel "$KERNEL" --net user,mac=1:2
}

@test "a tap that is in use" {
	ip tuntap add vmbusy0 mode tap
	ip link set vmbusy0 up
	start_guest 'echo up; sleep 100' --net tap=vmbusy0
	await_word up
	refused BUSY vmbusy0 -- --kernel "$KERNEL" --net tap=vmbusy0
	kill "$vm"
	end_guest
	ip link del vmbusy0
}

@test "options and values" {
	refused USAGE --kernle --kernel -- --kernle "$KERNEL"
	refused USAGE vmlinuz -- vmlinuz
	refused USAGE --kernel -- --kernel
	refused USAGE --rootfs --cpus -- --kernel "$KERNEL" --rootfs --cpus 2
	refused USAGE --hw acpi -- --kernel "$KERNEL" --hw pci
	refused USAGE --console file= -- --kernel "$KERNEL" --console tty
	refused HOST --console "$PWD/none/x" -- --kernel "$KERNEL" --console "file=$PWD/none/x"
	refused USAGE --timeout 10s -- --kernel "$KERNEL" --timeout soon
	refused USAGE --log-level debug -- --kernel "$KERNEL" --log-level loud
	refused USAGE --workers 16 -- --kernel "$KERNEL" --workers 17
	run "$MICROVM" rnu
	one_line USAGE "*'rnu'*microvm run*"
}

@test "the config file" {
	printf '{\n  "kernel": "k"\n  "cpus": 2\n}\n' >broken.json
	printf '{ "kernel": "k",\n  "cpu": 2 }\n' >unknown.json
	printf '{ "kernel": "k",\n  "cpus": [2] }\n' >type.json
	printf '{ "kernel": "k", "cpus": 0 }\n' >value.json
	refused USAGE none.json -- --config none.json
	refused USAGE "$PWD" directory -- --config "$PWD"
	refused USAGE empty:1:1 -- --config empty
	refused USAGE broken.json:3:3 -- --config broken.json
	refused USAGE unknown.json:2:3 "'cpu'" "'cpus'" -- --config unknown.json
	refused USAGE type.json:2:3 "'cpus'" number array -- --config type.json
	refused USAGE value.json cpus -- --config value.json
}

@test "names with line breaks in them are one line all the same" {
	refused IMAGE 'a?b' -- --kernel $'a\nb'
	refused IMAGE -- --kernel "$(printf 'x%.0s' {1..3000})"
}

@test "the same as JSON" {
	run "$MICROVM" run --log-format json --kernel none
	[ "$status" = "${status_named[IMAGE]}" ]
	[ "${#lines[@]}" = 1 ]
	[[ $output == '{"time":"'*'"level":"error","msg":"'*none*'"}' ]]
}

# Runs microvm where /dev/kvm is what the given command makes of it.
without_kvm() {
	unshare -m sh -c 'mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && eval "$1" &&
		exec "$MICROVM" run --kernel "$2" </dev/null' _ "$1" "$KERNEL"
}

@test "no KVM, no permission, no virtualization" {
	export MICROVM KERNEL
	for how in true 'mknod /dev/kvm c 10 253' ': >/dev/kvm'; do
		run without_kvm "$how"
		echo "$how"
		one_line HOST '*/dev/kvm*'
	done
	chmod 660 /dev/kvm
	chgrp 12 /dev/kvm
	public
	run as_nobody "$public/microvm" run --kernel "$public/kernel"
	one_line HOST '/dev/kvm: permission denied*group man*usermod*'
}

@test "doctor tells what is there and what is not" {
	run "$MICROVM" doctor
	[ "$status" = 0 ]
	[[ $output == *'Machines can run here'* ]]
	[[ $output == *KVM_CAP_IRQCHIP*IORING_OP_READ*/dev/net/tun* ]]
	run "$MICROVM" doctor --json
	[ "$status" = 0 ]
	[[ $output == *'"able": true'* ]]
	run unshare -m sh -c 'mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && "$MICROVM" doctor'
	[ "$status" = "${status_named[HOST]}" ]
	[[ $output == *MISSING*/dev/kvm*modprobe* ]]
}
