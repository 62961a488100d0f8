#!/usr/bin/env bats
# Streams between a guest and unix sockets of the host, both ways: --vsock.
# lab: timeout=1500

setup() {
	load guest
	streams=$REPO/build/tests/vm/streams
	door=$SCRATCH/vsock # the machine's socket; ports of the host are beside it
	servers=()
	rm -f "$door"*
}

teardown() {
	stop_leftovers
	[ ${#servers[@]} = 0 ] || kill "${servers[@]}" 2>/dev/null || true
}

# with_streams: what the guest needs, as its second disk; sets go, to be said first in the guest.
with_streams() {
	local tools=$BATS_TEST_TMPDIR/tools

	mkdir "$tools"
	cp "$streams" "$tools"
	if [ -n "$MODULES" ]; then
		find -L "$MODULES/" -path '*/vmw_vsock/*.ko*' -exec cp {} "$tools" \;
		find "$tools" -name '*.xz' -exec xz -d {} +
	fi
	tar -cf "$SCRATCH/tools.tar" -C "$tools" .
	go='mkdir /run/t; cd /run/t; tar -xf /dev/vdb
		for m in vsock vmw_vsock_virtio_transport_common vmw_vsock_virtio_transport; do
			[ ! -e $m.ko ] || insmod $m.ko
		done
		PATH=$PATH:/run/t;'
	options=(--vsock "$door" --disk "$SCRATCH/tools.tar,ro")
}

# serve PORT VERB [ARGUMENT...]: on the host, for the guest to connect to.
serve() {
	"$streams" "$2" "unix:${door}_$1" "${@:3}" 2>"$BATS_TEST_TMPDIR/ready$1" >"$BATS_TEST_TMPDIR/served$1" 3>&- &
	servers+=($!)
	await 10 grep -q ready "$BATS_TEST_TMPDIR/ready$1"
}

# Data of that size, and its checksum in sum.
data() {
	head -c "$1" /dev/urandom >"$BATS_TEST_TMPDIR/data"
	sum=$(sha256sum <"$BATS_TEST_TMPDIR/data")
}

# much_both_ways SIZE
much_both_ways() {
	with_streams
	serve 1000 echo
	data "$1"
	LIMIT=400s start_guest "$go head -c $1 /dev/urandom >/tmp/a; streams pipe vsock:1000 </tmp/a | cmp - /tmp/a && echo same
		rm /tmp/a; streams echo vsock:2000 1 2>&1" "${options[@]}"
	await 300 grep -q ready "$BATS_TEST_TMPDIR/out"
	[ "$("$streams" pipe "2000@$door" <"$BATS_TEST_TMPDIR/data" | sha256sum)" = "$sum" ]
	end_guest
	has same
	[ "$status" = 0 ]
	[ ! -s "$log" ]
}

@test "100 MiB both ways at once, from the guest and from the host" {
	much_both_ways 100M
}

@test "20 MiB with Linux 6.12" {
	KERNEL=$KERNEL_6_12 MODULES=$MODULES_6_12
	much_both_ways 20M
}

@test "1000 streams at once from the guest, 200 from the host" {
	quick_kernel
	with_streams
	serve 1000 echo
	start_guest "$go ulimit -n 4096; streams many vsock:1000 1000 5000; streams echo vsock:2000 200 2>&1" "${options[@]}"
	await_word ready
	[ "$(find "/proc/$vm/fd" -type l | wc -l)" -lt 100 ] # nothing is left of the 1000
	[ "$("$streams" many "2000@$door" 200 20000)" = "200 streams" ]
	end_guest
	has "1000 streams"
	[ "$status" = 0 ]
}

@test "half of a stream ends before the other" {
	quick_kernel
	with_streams
	serve 1000 count
	start_guest "$go head -c 300000 /dev/zero | streams pipe vsock:1000; streams count vsock:2000 2>&1" \
		"${options[@]}"
	await_word ready
	[ "$(head -c 500000 /dev/zero | "$streams" pipe "2000@$door")" = "500000 bytes" ]
	end_guest
	has "300000 bytes"
}

@test "nobody there" {
	quick_kernel
	with_streams
	start_guest "$go streams pipe vsock:999 2>&1; echo status \$?; streams count vsock:2000" "${options[@]}"
	await_word 'status 1'
	run "$streams" pipe "2999@$door"
	[ "$status" = 1 ]
	[ "$output" = 'streams: refused' ]
	[ "$("$streams" pipe "2000@$door" <<<hello)" = '6 bytes' ]
	end_guest
	[[ $output == *"vsock:999: Connection reset by peer"* ]]
	[ "$status" = 0 ]
}

@test "streams that are cut off" {
	quick_kernel
	with_streams
	serve 1000 count
	serve 1001 hold "$BATS_TEST_TMPDIR/never"
	start_guest "$go streams pipe vsock:1000 </dev/zero >/dev/null & sleep 2; kill -9 \$!
		echo writing; streams pipe vsock:1001 </dev/zero 2>&1; echo status \$?" "${options[@]}"
	await_word writing
	await 20 grep -q bytes "$BATS_TEST_TMPDIR/served1000"
	kill -9 "${servers[1]}"
	await_word 'status 1'
	end_guest
	[ "$status" = 0 ]
	[ ! -s "$log" ]
}

@test "a slow reader beside a quick stream" {
	quick_kernel
	with_streams
	serve 1000 hold "$BATS_TEST_TMPDIR/go"
	serve 1001 echo
	start_guest "$go head -c 5000000 /dev/urandom >/tmp/a; sha256sum </tmp/a
		streams pipe vsock:1000 </tmp/a & sleep 2
		for i in 1 2 3 4 5; do head -c 1000000 /dev/urandom >/tmp/b; streams pipe vsock:1001 </tmp/b | cmp - /tmp/b; done
		echo quick; wait; echo slow" "${options[@]}"
	await_word quick
	! grep -q slow "$BATS_TEST_TMPDIR/out"
	touch "$BATS_TEST_TMPDIR/go"
	end_guest
	wait "${servers[0]}"
	has slow
	has "$(sha256sum <"$BATS_TEST_TMPDIR/served1000")"
}

@test "what was sent before the machine goes off arrives" {
	quick_kernel
	with_streams
	serve 1000 hold "$BATS_TEST_TMPDIR/go"
	start_guest "$go head -c 400000 /dev/urandom >/tmp/a; sha256sum </tmp/a
		streams pipe vsock:1000 </tmp/a & sleep 2; echo sent" "${options[@]}"
	await_word sent
	touch "$BATS_TEST_TMPDIR/go"
	end_guest
	wait "${servers[0]}"
	has "$(sha256sum <"$BATS_TEST_TMPDIR/served1000")"
}

@test "the guest's driver goes and comes again" {
	with_streams
	serve 1000 echo
	start_guest "$go for i in 1 2 3; do
			streams many vsock:1000 5 5000
			rmmod vmw_vsock_virtio_transport || echo cannot go
			insmod vmw_vsock_virtio_transport.ko
		done
		streams count vsock:2000 2>&1" "${options[@]}"
	await_word ready
	[ "$("$streams" pipe "2000@$door" <<<hello)" = '6 bytes' ]
	end_guest
	[ "$(grep -c '5 streams' <<<"$output")" = 3 ]
	[[ $output != *cannot* ]]
	[ "$status" = 0 ]
	[ ! -s "$log" ]
}

# Streams of every kind, by a build that watches itself: it must have nothing to say.
watched() {
	quick_kernel
	with_streams
	serve 1000 echo
	serve 1001 count
	serve 1002 hold "$BATS_TEST_TMPDIR/go"
	LIMIT=300s start_guest "$go streams many vsock:1000 100 20000; streams pipe vsock:999 2>/dev/null
		streams pipe vsock:1001 </dev/zero >/dev/null & sleep 1; kill -9 \$!
		head -c 1000000 /dev/zero | streams pipe vsock:1002 & streams echo vsock:2000 100 2>&1; wait" "${options[@]}"
	await_word ready
	[ "$("$streams" many "2000@$door" 100 20000)" = "100 streams" ]
	touch "$BATS_TEST_TMPDIR/go"
	end_guest
	[ "$status" = 0 ]
	has "100 streams"
	[ "$(wc -c <"$BATS_TEST_TMPDIR/served1002")" = 1000000 ]
	[ ! -s "$log" ]
}

@test "addresses and undefined behaviour" {
	VMM=$MICROVM_ASAN
	watched
}

@test "threads" {
	VMM=$MICROVM_TSAN
	watched
}
