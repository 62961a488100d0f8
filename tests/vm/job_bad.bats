#!/usr/bin/env bats
# lab: memory=2G timeout=900
# Jobs that cannot be: one line that names what is wrong and says what to try, status 125, and nothing
# left behind.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154 # the guest expands it; tests are subshells

setup() {
	load job
	job_setup
}

teardown() {
	stop_leftovers
}

# A guest that never says anything takes a minute to give up on: it has it beside the other tests.
setup_file() {
	load job
	BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR job_setup
	remember
	gcc -nostdlib -static -no-pie -Wl,--build-id=none,-Ttext=0x1000000 -x assembler -o "$BATS_FILE_TMPDIR/hang" - <<-'END'
		.globl _start
		_start: mov $0x3f8, %dx
		mov $'!', %al
		out %al, %dx
		cli
		1: hlt
		jmp 1b
	END
	(
		status=0
		"$MICROVM" run --kernel "$BATS_FILE_TMPDIR/hang" --rootfs "$TREE" -- true \
			</dev/null >"$BATS_FILE_TMPDIR/silent.out" 2>"$BATS_FILE_TMPDIR/silent.log" || status=$?
		echo "$status $SECONDS" >"$BATS_FILE_TMPDIR/silent.status"
	) 3>&- &
}

# refused PATTERN OPTION... : 125, one line like that, nothing on standard output.
refused() {
	local pattern=$1

	shift
	echo "--- $*"
	status=0
	timeout -k 5 60 "$MICROVM" run "${mod[@]}" "$@" </dev/null >"$out" 2>"$log" 3>&- || status=$?
	output=$(<"$out")
	show
	[ "$status" = 125 ]
	[ -z "$output" ]
	said "$pattern"
}

@test "roots that are none" {
	: >empty
	mkdir closed
	refused '*no root for the command*--rootfs*--image*' -- true
	refused '*/nosuch*No such file*' --rootfs /nosuch -- true
	refused '*empty*' --rootfs empty -- true
	refused '*/dev/null*' --rootfs /dev/null -- true
	refused '*leave one out*' --rootfs "$TREE" --image x -- true
	refused '*leave one out*' --rootfs "$TREE" --keep --read-only -- true
	refused '*leave one out*' --rootfs "$TREE,ro" --keep -- true
	refused '*no command behind --*' --rootfs "$TREE" --
	refused "unknown option '--rotfs'*" --rotfs "$TREE" -- true
	refused "unexpected argument 'true'*" --rootfs "$TREE" true -- x
	status=0
	"$MICROVM" run --rootfs "$TREE" </dev/null 2>"$log" || status=$?
	[ "$status" = 2 ]
	said "--rootfs $TREE is a directory, and so needs a command: put one behind --*"
}

@test "volumes that cannot be" {
	mkdir d e
	: >f
	mkfifo pipe
	refused '*/nosuch*No such file*make it first*' --rootfs "$TREE" -v /nosuch:/x -- true
	refused '*not a directory, a regular file or a socket*' --rootfs "$TREE" -v "$PWD/pipe:/x" -- true
	refused "*'x/y' is not an absolute path*" --rootfs "$TREE" -v "$PWD/d:x/y" -- true
	refused "*'/x/../y' has a . or ..*" --rootfs "$TREE" -v "$PWD/d:/x/../y" -- true
	refused "*'/' is the guest's root*" --rootfs "$TREE" -v "$PWD/d:/" -- true
	refused "*is not HOST:GUEST*" --rootfs "$TREE" -v /x -- true
	refused "*is not HOST:GUEST*" --rootfs "$TREE" -v :/x -- true
	refused '*two things are to be at /x*' --rootfs "$TREE" -v "$PWD/d:/x" -v "$PWD/e://x/" -- true
	refused '*two things are to be at /x*' --rootfs "$TREE" -v "$PWD/d:/x" --tmpfs /x -- true
	refused '*two things are to be at /x*' --rootfs "$TREE" --tmpfs /x --tmpfs /x:ro -- true
	refused "*'huge=1' is no option of a tmpfs*" --rootfs "$TREE" --tmpfs /x:huge=1 -- true
	refused "*$PWD/d on /etc/passwd: not a directory*" --rootfs "$TREE" -v "$PWD/d:/etc/passwd" -- true
	refused "*$PWD/f on /home: *directory*" --rootfs "$TREE" -v "$PWD/f:/home" -- true
	refused '*on /a/b/c:*' --rootfs "$TREE" -v "$PWD/d:/a:ro" -v "$PWD/e:/a/b/c" -- true
	refused '*/y*' --rootfs "$TREE" --tmpfs /y:size=nonsense -- true
}

@test "what may not be read: as somebody without privileges" {
	chmod 666 /dev/kvm # (the lab's own, and gone with it)
	public=$(mktemp -d /tmp/public.XXXXXX)
	chmod 777 "$public"
	cp "$MICROVM" "$public/microvm"
	cp "$KERNEL" "$public/kernel"
	mkdir "$public/closed" "$public/cache"
	chmod 700 "$public/closed"
	chmod 777 "$public/cache"
	as_nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups -- env -u XDG_RUNTIME_DIR -u MICROVM_KERNEL
		"XDG_CACHE_HOME=$public/cache")
	for args in "--rootfs $public/closed" "--rootfs $TREE -v $public/closed:/x"; do
		status=0
		# shellcheck disable=SC2086
		timeout 60 "${as_nobody[@]}" "$public/microvm" run --kernel "$public/kernel" $args -- true </dev/null 2>"$log" || status=$?
		cat "$log"
		[ "$status" = 125 ]
		said "*$public/closed*ermission denied*"
	done
	# and a job without privileges: it sees the tree as it may, and its files are the user's
	mkdir -m 777 "$public/v"
	status=0
	timeout 60 "${as_nobody[@]}" "$public/microvm" run --kernel "$public/kernel" --rootfs "$TREE" -v "$public/v:/v" \
		--net user -- sh -c 'id -u; touch /v/made /tmp/x; exit 9' </dev/null >"$out" 2>"$log" || status=$?
	cat "$out" "$log"
	[ "$status" = 9 ]
	[ "$(<"$out")" = 0 ]
	[ "$(stat -c %u "$public/v/made")" = 65534 ]
	rm -r "$public" /tmp/microvm-65534
}

@test "users, groups and directories that the guest does not know; no shell in the root" {
	mkdir -p bare/bin noetc
	cp /usr/bin/busybox bare/bin/
	refused "no user 'mallory' in the guest's /etc/passwd" --rootfs "$TREE" -u mallory -- true
	refused "no group 'gang'*" --rootfs "$TREE" -u root:gang -- true
	refused '*/nosuch*' --rootfs "$TREE" -w /nosuch -- true
	refused '*is not an absolute path*' --rootfs "$TREE" -w src -- true
	refused '*is not USER*' --rootfs "$TREE" -u :x -- true
	refused '*is not NAME=VALUE*' --rootfs "$TREE" -e =x -- true
	status=0
	"$MICROVM" run "${mod[@]}" --rootfs bare -- sh -c true </dev/null 2>"$log" || status=$?
	[ "$status" = 127 ]
	said 'sh: not found in PATH*'
	ROOT=bare job -- /bin/busybox echo works
	[ "$output" = works ]
	ROOT=noetc job -- sh
	[ "$status" = 127 ]
}

@test "kernels that cannot carry a job" {
	refused '*no such file system* kernel*' --append initcall_blacklist=virtio_fs_init --rootfs "$TREE" -- true
	refused '*no such file system* kernel*' --append initcall_blacklist=ovl_init --rootfs "$TREE" -- true
	MODULES=
	mod=()
	mkdir none
	refused '*modules*' --kernel "$KERNEL_6_1" --modules none --rootfs "$TREE" -- true
	refused '*is for kernel*' --kernel "$KERNEL_6_1" --modules "$MODULES_6_12" --rootfs "$TREE" -- true
	job --kernel "$KERNEL_SMALL" --append initcall_blacklist=virtio_mmio_init -- true
	[ "$status" = 125 ]
	[ "$(<"$log")" = 'microvm: error: the guest ended before its command: it gave up
microvm: error: guest: microvm init: cannot reach the host over vsock: the kernel does not know it' ]
	: >nokernel
	refused '*nokernel*' --kernel nokernel --rootfs "$TREE" -- true
	MICROVM_KERNEL=/nosuch/kernel refused '*/nosuch/kernel*' --rootfs "$TREE" -- true
}

@test "a guest that panics: its last words, 125" {
	job --append rdinit=/nosuch -- true
	[ "$status" = 125 ]
	[ "$(head -n 1 "$log")" = 'microvm: error: the guest ended before its command: it panicked' ]
	grep -q '^microvm: error: guest: .*Kernel panic - not syncing' "$log"
	job --append 'panic=-1' -- sh -c 'echo before; sleep 1; echo c >/proc/sysrq-trigger; sleep 100'
	[ "$status" = 125 ]
	[ "$output" = before ]
	grep -q 'it panicked' "$log"
	grep -q 'guest: .*sysrq triggered crash' "$log"
	job -- sh -c 'echo o >/proc/sysrq-trigger; sleep 100'
	[ "$status" = 125 ]
	grep -q 'it powered off' "$log"
	job -- sh -c 'reboot -f; sleep 100'
	[ "$status" = 125 ]
	grep -q 'it rebooted' "$log"
}

@test "a guest out of memory loses its job, not its status" {
	job --memory 96M -- sh -c 'x=xxxxxxxxxxxxxxxx; while :; do x=$x$x$x$x; done'
	[ "$status" != 0 ]
	[ "$status" = 137 ] || [ "$status" = 125 ] || [ "$status" = 2 ] || [ "$status" = 1 ]
}

@test "ports that are taken, or make no sense; names that are taken, or none" {
	socat TCP-LISTEN:2233,bind=127.0.0.1 - 3>&- &
	vm=$!
	await 5 bash -c 'ss -lnt | grep -q 127.0.0.1:2233'
	refused '*port 2233*in use*' --rootfs "$TREE" -p 127.0.0.1:2233:80 -- true
	refused '*' --rootfs "$TREE" -p 80 -- true
	refused '*' --rootfs "$TREE" -p 0:80 -- true
	refused '*' --rootfs "$TREE" -p 80:80/sctp -- true
	refused '*' --rootfs "$TREE" -p nosuchhost:80:80 -- true
	refused '*is no name*' --rootfs "$TREE" --name ../x -- true
	refused '*is no name*' --rootfs "$TREE" --hostname 'a b' -- true
	refused '*longer than*' --rootfs "$TREE" --vsock "/tmp/$(printf '%0100d' 0)" -- true
	: >file
	refused '*file*' --rootfs "$TREE" --vsock file -- true
	[ -e file ]
	refused '*tap*' --rootfs "$TREE" --net tap=nosuchtap -- true
}

@test "options that are not for jobs, or only for jobs" {
	refused '*--initrd*' --initrd /x --rootfs "$TREE" -- true
	for option in '-v /tmp:/x' '--tmpfs /x' '-e A=b' '-w /' '-u root' -i -t --keep --read-only '--hostname x'; do
		status=0
		# shellcheck disable=SC2086
		"$MICROVM" run --rootfs "$ROOTFS" $option </dev/null 2>"$log" || status=$?
		[ "$status" = 2 ]
		said '*is for a machine that runs a command*'
	done
	run "$MICROVM" exec
	[ "$status" = 125 ]
	run "$MICROVM" exec x
	[ "$status" = 125 ]
	run "$MICROVM" exec --rootfs x y -- true
	[ "$status" = 125 ]
	run "$MICROVM" exec nosuch -- true
	[ "$status" = 125 ]
	[[ $output == *'`microvm ps` lists them'* ]]
}

@test "a guest that never starts its init: after a minute, with what its console said last" {
	await 100 test -s "$BATS_FILE_TMPDIR/silent.status"
	cat "$BATS_FILE_TMPDIR"/silent.*
	read -r status seconds <"$BATS_FILE_TMPDIR/silent.status"
	[ "$status" = 125 ]
	[ "$seconds" -ge 60 ]
	[ "$(<"$BATS_FILE_TMPDIR/silent.log")" = "microvm: error: the guest did not start its init within 60 s of its own; what its console said last:
microvm: error: guest: !" ]
	nothing_left
}
