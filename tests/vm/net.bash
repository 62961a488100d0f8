# Loaded by net_*.bats: the host's side of a guest's network, in a namespace of the test's own.
# shellcheck shell=bash disable=SC2034,SC2154 # used by those, and by guest.bash

ns=mvnet
host=192.168.77.1
me='ip addr add 192.168.77.2/24 dev eth0; ip link set eth0 up;'
dhcp='ip link set eth0 up; udhcpc -i eth0 -n -q -t 8 -T 1 -s /usr/share/udhcpc/default.script >/dev/null 2>&1;'

inside() {
	ip netns exec $ns "$@"
}

net_setup() {
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

net_teardown() {
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
	ip netns exec $ns "$@" >"$BATS_TEST_TMPDIR/served" 2>&1 3>&- &
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

# What a guest does with that: fetch it, say its checksum, send it back; in large pieces, for nc
# itself sends a packet for each 1 KiB.
fetch_and_return() {
	echo "wget -q -O /tmp/f http://$1/data; sha256sum </tmp/f; nc -w 5 $1 81 -e dd if=/tmp/f bs=64k 2>/dev/null;"
}
