#!/usr/bin/env bats
# lab: memory=3G timeout=900
# What a job's root and volumes are, and what is left of its writes.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154 # the guest expands it; tests are subshells

setup() {
	load job
	job_setup
}

teardown() {
	stop_leftovers
}

# What is in the tree, with owners and times.
listing() {
	find "$1" -printf '%P %y %m %U:%G %s %T@\n' | sort
}

@test "writes to the root die with the machine" {
	listing "$TREE" >before
	job -- sh -c 'set -e; echo changed >/etc/passwd; rm /etc/group; mkdir /new; echo a >/new/file
		chmod 700 /home; mv /root /gone; ln /bin/sh /sh; cat /new/file; rm -r /home/alice'
	[ "$status" = 0 ]
	[ "$output" = a ]
	quiet
	diff before <(listing "$TREE")
}

@test "--keep writes through, and leaves what it needs itself out" {
	make_tree keep
	echo mine >keep/etc/hostname
	listing keep >before
	ROOT=keep job --keep --hostname other -- sh -c 'cat /etc/hostname; echo kept >/root/file; mkdir /made
		chown 1000:1000 /made; rm /etc/group; mount | grep -c " / "'
	[ "$status" = 0 ]
	[ "$output" = $'other\n1' ]
	[ "$(<keep/root/file)" = kept ]
	[ "$(stat -c %u:%g keep/made)" = 1000:1000 ]
	[ ! -e keep/etc/group ]
	[ "$(<keep/etc/hostname)" = mine ]
	listing keep | cut -d' ' -f 1 >after
	diff <(cut -d' ' -f 1 before) after | grep '^[<>]' | sort >changed || true
	cat changed
	# Only what the job did; a missing /etc/hosts is no harm, but is it empty?
	[ "$(grep -vc -e 'etc/group$' -e ' made$' -e 'root/file$' -e ' etc/hosts$' changed)" = 0 ]
	quiet
}

@test "--read-only: no writes to the root, but to what is mounted in it" {
	mkdir v
	job --read-only -v "$PWD/v:/deep/er" --tmpfs /scratch -- sh -c \
		'touch /x && exit 9; touch /deep/er/file /scratch/a /run/b /dev/shm/c && echo wrote; grep . /etc/hosts | head -n 1'
	[ "$status" = 0 ]
	[ "$output" = $'wrote\n127.0.0.1\tlocalhost' ]
	[ -e v/file ]
	[ ! -e "$TREE/deep" ]
	ROOT=$TREE,ro job -- touch /x
	[ "$status" = 1 ]
	grep -q 'Read-only file system' "$log"
}

@test "an image as the root: a layer; --keep, written back whole" {
	cp "$ROOTFS" image
	cp image copy
	ROOT=image job -- sh -c 'echo layer >/root/file; cat /root/file; df / | tail -n 1 | cut -d" " -f 1; exit 3'
	[ "$status" = 3 ]
	[ "$output" = $'layer\noverlay' ]
	cmp image copy
	rm copy
	ROOT=image job --keep -- sh -c 'dd if=/dev/urandom of=/root/data bs=1M count=8 2>/dev/null
		md5sum </root/data; mkdir /a; for i in $(seq 200); do echo $i >/a/$i; done; exit 4'
	[ "$status" = 4 ]
	check_fs image
	[ "$(from_image image /root/data | md5sum)" = "$output" ]
	[ "$(from_image image /a/200)" = 200 ]
	job --read-only --disk image,ro -- sh -c 'mount -o ro,noload /dev/vda /mnt 2>/dev/null || mkdir /tmp/m 2>/dev/null; ls /dev/vda'
	[ "$output" = /dev/vda ]
}

@test "--keep of an image holds after --timeout and signals, too" {
	cp "$ROOTFS" image
	ROOT=image job --keep --timeout 15s -- sh -c 'echo before >/root/file; trap "echo trapped >/root/trap; exit 0" TERM
		while :; do sleep 0.1; done'
	[ "$status" = 124 ]
	check_fs image
	[ "$(from_image image /root/file)" = before ]
	[ "$(from_image image /root/trap)" = trapped ]
	ROOT=image start_job --keep -- sh -c 'echo ready; echo second >/root/file; sleep 100'
	await_word ready
	kill "$vm"
	end_guest
	[ "$status" = 143 ]
	check_fs image
	[ "$(from_image image /root/file)" = second ]
}

@test "volumes: a folder, a file, read-only ones, one in another, on what is there and what is not" {
	mkdir -p a b deep/c
	echo data >a/in
	echo inner >b/in
	echo file >single
	echo 'hash#colon' >'odd:na me'
	job -v "$PWD/b:/a/b" -v "$PWD/a:/a" -v "$PWD/single:/etc/single" -v "$PWD/odd:na me:/new/file:ro" -v ./deep:/d:ro -- sh -c '
		cat /a/in /a/b/in /etc/single /new/file; echo made >/a/out; echo made2 >/a/b/out; echo over >/etc/single
		echo x >/new/file || echo refused; mkdir /d/x || echo refused; ls -d /d/c
		chown 1000:1000 /a/out; ln -s out /a/link; mv /a/b/out /a/b/moved' 2>"$log"
	[ "$status" = 0 ]
	[ "$output" = $'data\ninner\nfile\nhash#colon\nrefused\nrefused\n/d/c' ]
	[ "$(<a/out)" = made ]
	[ "$(stat -c %u a/out)" = 1000 ]
	[ "$(readlink a/link)" = out ]
	[ "$(<b/moved)" = made2 ]
	[ "$(<single)" = over ]
	[ "$(<odd:na\ me)" = 'hash#colon' ]
	[ ! -e "$TREE/a" ] && [ ! -e "$TREE/etc/single" ] && [ ! -e "$TREE/new" ]
}

@test "what a volume got is there when the job is over, whatever its end" {
	mkdir v
	job -v "$PWD/v:/v" -- sh -c 'seq 100000 >/v/one; mkfifo /v/fifo; exit 3'
	[ "$status" = 3 ]
	cmp <(seq 100000) v/one
	[ -p v/fifo ]
	job -v "$PWD/v:/v" --cache always -- sh -c 'seq 100000 >/v/two; kill -9 $$'
	[ "$status" = 137 ]
	cmp <(seq 100000) v/two
	job -v "$PWD/v:/v" --timeout 15s -- sh -c 'seq 100000 >/v/three; sleep 100'
	[ "$status" = 124 ]
	cmp <(seq 100000) v/three
	start_job -v "$PWD/v:/v" -- sh -c 'seq 100000 >/v/four; echo ready; sleep 100'
	await_word ready
	kill -9 "$vm"
	end_guest
	cmp <(seq 100000) v/four
}

@test "--tmpfs with its options" {
	job --tmpfs /t:size=1M,mode=700,uid=1000,noexec --tmpfs /r:ro --tmpfs /a/b -- sh -c 'df -k /t | tail -n 1 | tr -s " " | cut -d" " -f 2
		stat -c "%a %u" /t; dd if=/dev/zero of=/t/x bs=64k 2>/dev/null || echo full; rm /t/x; cp /bin/true /t/p; /t/p 2>/dev/null || echo noexec
		touch /r/x 2>/dev/null || echo ro; stat -f -c %T /a/b'
	[ "$output" = $'1024\n700 1000\nfull\nnoexec\nro\ntmpfs' ]
	[ "$status" = 0 ]
}

@test "as many volumes as there is room for, and one more" {
	volumes=()
	for ((i = 1; ; i++)); do
		mkdir "v$i"
		echo "$i" >"v$i/n"
		volumes+=(-v "$PWD/v$i:/v/$i")
		[ "$i" -lt 16 ] || break
	done
	job "${volumes[@]}" -- sh -c 'cat /v/*/n | sort -n | tr "\n" " "'
	[ "$output" = "$(seq -s ' ' 16) " ]
	job "${volumes[@]}" -v "$PWD:/one/more" -- true
	[ "$status" = 125 ]
	said '*leave out volumes, disks or networks'
	job "${volumes[@]}" --net user --net user --disk "$ROOTFS,ro" -- true
	[ "$status" = 125 ]
	said '*'
}

@test "a full disk is the job's own affair" {
	truncate -s 16M "$SCRATCH/small.img"
	mke2fs -q -t ext4 "$SCRATCH/small.img"
	mkdir -p "$SCRATCH/small"
	mount -o loop "$SCRATCH/small.img" "$SCRATCH/small"
	job -v "$SCRATCH/small:/v" -- sh -c 'dd if=/dev/zero of=/v/big bs=64k 2>&1 | grep -o "No space left.*"; rm /v/big; echo after >/v/ok; exit 5'
	umount "$SCRATCH/small"
	[ "$status" = 5 ]
	[[ $output == *'No space left on device'* ]]
	quiet
	# and the layer, which is memory
	job --memory 128M -- sh -c 'dd if=/dev/zero of=/big bs=64k 2>&1 | grep -o "No space left.*"; rm /big; echo fine'
	[ "$status" = 0 ]
	[[ $output == *fine ]]
}

@test "a stock Debian kernel of each version, with its modules; the same from 4 processors" {
	KERNEL=$KERNEL_6_12 MODULES=$MODULES_6_12
	export MICROVM_KERNEL=$KERNEL
	mod=(--modules "$MODULES")
	mkdir v
	job -v "$PWD/v:/v" --net user --cpus 4 -- sh -c 'uname -r; nproc; echo x >/v/x; ip -o -4 addr show dev eth0 | grep -o 10.0.2.15; exit 3'
	[ "$status" = 3 ]
	[[ $output == 6.12*$'\n4\n10.0.2.15' ]]
	[ -s v/x ]
	KERNEL=$KERNEL_6_1 MODULES=$MODULES_6_1
	export MICROVM_KERNEL=$KERNEL
	mod=(--modules "$MODULES")
	ROOT=$ROOTFS job -- sh -c 'uname -r; exit 4'
	[ "$status" = 4 ]
	[[ $output == 6.1.* ]]
	quiet
}
