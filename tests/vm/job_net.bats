#!/usr/bin/env bats
# lab: memory=2G timeout=900
# A job's network: none, a user network with published ports, a tap.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154 # the guest expands it; tests are subshells

load net

setup() {
	net_setup
	load job
	job_setup
	MICROVM=$VMM # in the name space
}

teardown() {
	net_teardown
}

@test "no network unless asked for" {
	job -- sh -c 'ls /sys/class/net; cat /etc/resolv.conf 2>/dev/null; ping -c 1 127.0.0.1 >/dev/null && echo self'
	[ "$output" = $'lo\nself' ]
}

@test "--net user: address, route, names, before the command starts" {
	serve perl -MIO::Socket::INET -e '
		$s = IO::Socket::INET->new(Proto => "udp", LocalAddr => "127.0.0.1", LocalPort => 53) or die $!;
		while ($s->recv($q, 512)) {
			($type) = unpack "n", substr($q, -4, 2);
			$a = pack "nnnnC4", 0xc00c, 1, 1, 0, 0; $a = "\xc0\x0c\0\1\0\1\0\0\0\5\0\4\xc0\0\2\x21";
			$s->send(substr($q, 0, 2) . "\x81\x80\0\1" . ($type == 1 ? "\0\1" : "\0\0") . "\0\0\0\0" .
				substr($q, 12) . ($type == 1 ? $a : ""));
		}'
	served 3M
	job --net user -- sh -c 'ip -o -4 addr show dev eth0 | grep -o "inet [0-9./]*"; ip route | grep -o "^default via [0-9.]*"
		cat /etc/resolv.conf; nslookup some.name | grep -o 192.0.2.33; wget -q -O - http://10.0.2.2/data | sha256sum'
	[ "$output" = "inet 10.0.2.15/24
default via 10.0.2.2
nameserver 10.0.2.3
192.0.2.33
$sum" ]
	quiet
}

@test "-p: ports of this host, tcp and udp, with and without an address" {
	ROOT=$ROOTFS start_job -p 127.0.0.1:8022:22 -p 8023:23 -p 5201:5201 -p 5201:5201/udp -- sh -c 'nc -ll -p 22 -e echo tcp &
		nc -ll -p 23 -e echo any & echo ready; exec iperf3 -s'
	await_word ready
	await 20 port_says 127.0.0.1:8022 tcp
	await 20 port_says 127.0.0.2:8023 any
	! port_says 127.0.0.2:8022 tcp || return 1
	await 40 inside iperf3 -c 127.0.0.1 -u -b 1M -t 1
	kill "$vm"
	end_guest
	[ "$status" -gt 0 ]
}

port_says() {
	[ "$(inside socat -u "TCP:$1" -)" = "$2" ]
}

@test "a tap with ip=, gw= and dns=; two networks" {
	tap tap0
	job --net tap=tap0,ip=192.168.77.2/24,gw="$host",dns=192.168.77.53 --net user -- sh -c 'ip -o -4 addr show dev eth0 | grep -o "inet [0-9./]*"
		ip route | grep -o "^default via [0-9.]*"; cat /etc/resolv.conf; ping -q -c 1 192.168.77.1 >/dev/null && echo tap
		ip -o -4 addr show dev eth1 | grep -o "inet [0-9./]*"; ping -q -c 1 10.0.2.2 >/dev/null && echo user'
	[ "$output" = "inet 192.168.77.2/24
default via $host
nameserver 192.168.77.53
tap
inet 10.0.2.15/24
user" ]
	quiet
}
