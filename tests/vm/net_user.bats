#!/usr/bin/env bats
# User-mode networking: DHCP, names, TCP and UDP both ways, forwarded ports.
# lab: timeout=900

load net

setup() {
	net_setup
}

teardown() {
	net_teardown
}

@test "DHCP, ping, 100 MiB to the guest and back" {
	served 100M
	LIMIT=300s guest "$dhcp ip -o -4 addr show dev eth0; ping -q -c 2 10.0.2.2 >/dev/null && echo pinged
		$(fetch_and_return 10.0.2.2)" --net user
	[[ $output == *10.0.2.15/24* ]]
	has pinged
	has "$sum"
	came
}

@test "names are asked of the host's name server" {
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

@test "forwarded ports" {
	start_guest "$dhcp echo ready; nc -l -p 22 </etc/passwd; iperf3 -s -1 >/dev/null; exit 3" \
		--net user,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=5201-:5201,hostfwd=udp:0.0.0.0:5201-:5201
	await_word ready
	[ "$(inside socat -u TCP:127.0.0.1:2222 -)" = 'root::0:0:root:/root:/bin/sh' ]
	await 20 inside iperf3 -c 127.0.0.1 -u -b 1M -t 1
	end_guest
	[ "$status" = 3 ]
	[ ! -s "$log" ]
}

@test "a port that is taken is named" {
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

@test "two networks at once, and a tap" {
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
