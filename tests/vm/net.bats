#!/usr/bin/env bats
# The network: through a tap, and through user-mode networking. The host's side of it is a network
# namespace of the test's own.
# lab: timeout=900

ns=mvnet
host=192.168.77.1
me='ip addr add 192.168.77.2/24 dev eth0; ip link set eth0 up;'
dhcp='ip link set eth0 up; udhcpc -i eth0 -n -q -t 8 -T 1 -s /usr/share/udhcpc/default.script >/dev/null 2>&1;'

inside() {
	ip netns exec $ns "$@"
}

setup() {
	load guest
	export VMM=$BATS_TEST_TMPDIR/microvm
	printf '#!/bin/sh\nexec ip netns exec %s "%s" "$@"\n' "$ns" "$MICROVM" >"$VMM"
	chmod +x "$VMM"
	mkdir -p /etc/netns/$ns
	echo nameserver 127.0.0.1 >/etc/netns/$ns/resolv.conf # ip netns exec puts it in place
	ip netns add $ns
	inside ip link set lo up
	servers=()
}

teardown() {
	stop_leftovers
	[ ${#servers[@]} = 0 ] || kill "${servers[@]}" 2>/dev/null || true
	ip netns del $ns
	rm -rf "/etc/netns/$ns"
}

# tap NAME [FLAG...]: a tap with our address on it.
tap() {
	local name=$1

	shift
	inside ip tuntap add "$name" mode tap "$@"
	inside ip addr add $host/24 dev "$name"
	inside ip link set "$name" up
}

# serve COMMAND...: in the namespace, until the test ends.
serve() {
	inside "$@" >"$BATS_TEST_TMPDIR/served" 2>&1 3>&- &
	servers+=($!)
}

# served SIZE: a folder by HTTP on port 80, with a file "data" of that many bytes, whose checksum
# this sets sum to; and port 81 keeps what it is sent.
served() {
	mkdir -p "$BATS_TEST_TMPDIR/www"
	head -c "$1" /dev/urandom >"$BATS_TEST_TMPDIR/www/data"
	sum=$(sha256sum <"$BATS_TEST_TMPDIR/www/data")
	serve busybox httpd -f -p 80 -h "$BATS_TEST_TMPDIR/www"
	serve socat -u TCP-LISTEN:81,reuseaddr "OPEN:$BATS_TEST_TMPDIR/came,creat,trunc"
}

came() {
	[ "$(sha256sum <"$BATS_TEST_TMPDIR/came")" = "$sum" ]
}

# What a guest does with that: fetch it, say its checksum, send it back.
fetch_and_return() {
	echo "wget -q -O /tmp/f http://$1/data; sha256sum </tmp/f; nc -w 5 $1 81 </tmp/f;"
}

@test "tap: ping both ways" {
	tap tap0
	start_guest "$me ping -q -c 3 $host && echo pinged; read x </dev/hvc0; exit 3" --net tap=tap0
	await_word pinged
	inside ping -q -c 3 192.168.77.2
	inside ping -q -c 3 -s 1472 -M do 192.168.77.2
	kill "$vm"
	end_guest
	has pinged
}

@test "tap: 100 MiB to the guest and back" {
	tap tap0
	served 100M
	LIMIT=300s guest "$me $(fetch_and_return $host)" --net tap=tap0
	has "$sum"
	came
}

@test "tap: a guest that is a server" {
	tap tap0
	start_guest "$me dd if=/dev/urandom of=/tmp/f bs=1M count=20 2>/dev/null; sha256sum </tmp/f; echo ready; nc -l -p 80 </tmp/f" \
		--net tap=tap0
	await_word ready
	inside socat -u TCP:192.168.77.2:80 "OPEN:$BATS_TEST_TMPDIR/came,creat,trunc"
	end_guest
	has "$(sha256sum <"$BATS_TEST_TMPDIR/came")"
}

@test "tap: many connections, both ways at once" {
	tap tap0
	serve iperf3 -s
	LIMIT=240s guest "$me iperf3 -c $host -P 8 -t 3 >/dev/null && iperf3 -c $host -P 8 -t 3 --bidir >/dev/null &&
		iperf3 -c $host -u -b 20M -t 3 >/dev/null && echo done" --net tap=tap0
	has done
}

@test "tap: long frames" {
	inside ip tuntap add tap0 mode tap
	inside ip link set tap0 mtu 9000
	inside ip addr add $host/24 dev tap0
	inside ip link set tap0 up
	guest "$me cat /sys/class/net/eth0/mtu; ping -q -c 3 -s 8900 -M do $host && echo pinged" --net tap=tap0
	has 9000
	has pinged
}

@test "tap: several queues on several workers" {
	tap tap0 multi_queue
	serve iperf3 -s
	served 20M
	LIMIT=240s guest "$me ls -d /sys/class/net/eth0/queues/rx-* | wc -l; iperf3 -c $host -P 6 -t 3 >/dev/null &&
		iperf3 -c $host -P 6 -t 3 -R >/dev/null && echo done; $(fetch_and_return $host)" \
		--net tap=tap0,queues=3 --cpus 3 --workers 2
	has 3
	has done
	has "$sum"
	came
}

@test "tap: a driver that comes and goes" {
	tap tap0
	serve ping -q -i 0.01 192.168.77.2
	guest "cd /sys/bus/virtio/drivers/virtio_net; dev=\$(basename \$(readlink /sys/class/net/eth0/device))
		for i in 1 2 3 4 5; do $me ping -q -c 2 -i 0.1 $host >/dev/null && echo pinged \$i
		echo \$dev >unbind; [ -e /sys/class/net/eth0 ] && echo still there; echo \$dev >bind; done" --net tap=tap0
	has "pinged 5"
	! has "still there"
	[ ! -s "$log" ]
}

@test "tap: the guest outlives its network" {
	tap tap0
	start_guest "$me echo ready; sleep 2; ping -c 1 -W 1 $host >/dev/null; ip link del eth0 2>/dev/null; echo alive" \
		--net tap=tap0
	await_word ready
	inside ip link del tap0
	end_guest
	has alive
	[ "$status" = 0 ]
}

@test "tap: the address is the one asked for, or a steady one" {
	tap tap0
	guest 'cat /sys/class/net/eth0/address' --net tap=tap0,mac=02:00:00:00:00:07
	has 02:00:00:00:00:07
	guest 'cat /sys/class/net/eth0/address' --net tap=tap0
	first=$output
	guest 'cat /sys/class/net/eth0/address' --net tap=tap0
	[ "$output" = "$first" ]
}

@test "tap: one that is missing, busy, or none" {
	guest true --net tap=nosuch
	[ "$status" = "$(status_of HOST)" ]
	grep -q '"nosuch".*ip tuntap add nosuch mode tap' "$log"
	[ "$(wc -l <"$log")" = 1 ]
	! inside ip link show nosuch
	guest true --net tap=lo
	[ "$status" = "$(status_of HOST)" ]
	grep -q '"lo" is not a tap' "$log"
	tap tap0
	guest true --net tap=tap0,queues=2
	grep -q 'multi_queue' "$log"
	start_guest 'echo ready; sleep 100' --net tap=tap0
	await_word ready
	first=$vm vm=
	log=$BATS_TEST_TMPDIR/second guest true --net tap=tap0
	[ "$status" = "$(status_of BUSY)" ]
	grep -q '"tap0" is in use' "$BATS_TEST_TMPDIR/second"
	kill -9 "$first"
	wait "$first" || true
	guest 'exit 5' --net tap=tap0
	[ "$status" = 5 ]
}

@test "user: DHCP, ping, 100 MiB to the guest and back" {
	served 100M
	LIMIT=300s guest "$dhcp ip -o -4 addr show dev eth0; ping -q -c 2 10.0.2.2 >/dev/null && echo pinged
		$(fetch_and_return 10.0.2.2)" --net user
	[[ $output == *10.0.2.15/24* ]]
	has pinged
	has "$sum"
	came
}

@test "user: names are asked of the host's name server" {
	serve perl -MIO::Socket::INET -e '
		$s = IO::Socket::INET->new(Proto => "udp", LocalAddr => "127.0.0.1", LocalPort => 53) or die $!;
		while ($s->recv($q, 512)) {
			($type) = unpack "n", substr($q, -4, 2);
			$a = pack "nnnnC4", 0xc00c, 1, 1, 0, 0; $a = "\xc0\x0c\0\1\0\1\0\0\0\5\0\4\xc0\0\2\x21";
			$s->send(substr($q, 0, 2) . "\x81\x80\0\1" . ($type == 1 ? "\0\1" : "\0\0") . "\0\0\0\0" .
				substr($q, 12) . ($type == 1 ? $a : ""));
		}'
	guest "$dhcp nslookup some.name" --net user
	[[ $output == *192.0.2.33* ]]
}

@test "user: forwarded ports" {
	start_guest "$dhcp echo ready; nc -l -p 22 </etc/passwd; iperf3 -s -1 >/dev/null; exit 3" \
		--net user,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=5201-:5201,hostfwd=udp:0.0.0.0:5201-:5201
	await_word ready
	[ "$(inside socat -u TCP:127.0.0.1:2222 -)" = 'root::0:0:root:/root:/bin/sh' ]
	await 20 inside iperf3 -c 127.0.0.1 -u -b 1M -t 1
	end_guest
	[ "$status" = 3 ]
	[ ! -s "$log" ]
}

@test "user: a port that is taken is named" {
	serve socat TCP-LISTEN:2222,bind=127.0.0.1 -
	await 5 busy
	guest true --net user,hostfwd=tcp:127.0.0.1:2222-:22
	[ "$status" = "$(status_of BUSY)" ]
	grep -q 'tcp port 2222 of 127.0.0.1 is in use' "$log"
	[ "$(wc -l <"$log")" = 1 ]
}

busy() {
	inside ss -lnt | grep -q 127.0.0.1:2222
}

@test "user: two networks at once, and a tap" {
	tap tap0
	served 1M
	guest "$me for i in 1 2; do ip link set eth\$i up; udhcpc -i eth\$i -n -q -t 8 -T 1 \
			-s /usr/share/udhcpc/default.script >/dev/null 2>&1; ip -o -4 addr show dev eth\$i; ping -q -c 1 \
			-I eth\$i 10.0.2.2 >/dev/null && echo pinged \$i; done
		ping -q -c 1 $host >/dev/null && echo pinged tap" --net tap=tap0 --net user --net user
	has "pinged 1"
	has "pinged 2"
	has "pinged tap"
}
