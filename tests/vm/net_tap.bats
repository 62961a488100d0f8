#!/usr/bin/env bats
# The network through a tap.
# lab: timeout=900

load net

setup() {
	net_setup
}

teardown() {
	net_teardown
}

@test "ping both ways" {
	tap tap0
	start_guest "$me ping -q -c 3 $host && echo pinged; read x </dev/hvc0; exit 3" --net tap=tap0
	await_word pinged
	inside ping -q -c 3 192.168.77.2
	inside ping -q -c 3 -s 1472 -M do 192.168.77.2
	kill "$vm"
	end_guest
	has pinged
}

@test "100 MiB to the guest and back" {
	tap tap0
	served 100M
	LIMIT=300s guest "$me $(fetch_and_return $host)" --net tap=tap0
	has "$sum"
	came
}

@test "a guest that is a server" {
	tap tap0
	start_guest "$me dd if=/dev/urandom of=/tmp/f bs=1M count=20 2>/dev/null; sha256sum </tmp/f; echo ready; nc -l -p 80 -e dd if=/tmp/f bs=64k" \
		--net tap=tap0
	await_word ready
	inside socat -u TCP:192.168.77.2:80 "OPEN:$BATS_TEST_TMPDIR/came,creat,trunc"
	end_guest
	has "$(sha256sum <"$BATS_TEST_TMPDIR/came")"
}

@test "many connections, both ways at once" {
	tap tap0
	serve iperf3 -s
	LIMIT=240s guest "$me iperf3 -c $host -P 8 -t 3 >/dev/null && iperf3 -c $host -P 8 -t 3 --bidir >/dev/null &&
		iperf3 -c $host -u -b 20M -t 3 >/dev/null && echo done" --net tap=tap0
	has done
}

@test "long frames" {
	inside ip tuntap add tap0 mode tap
	inside ip link set tap0 mtu 9000
	inside ip addr add $host/24 dev tap0
	inside ip link set tap0 up
	guest "$me cat /sys/class/net/eth0/mtu; ping -q -c 3 -s 8900 -M do $host && echo pinged" --net tap=tap0
	has 9000
	has pinged
}

@test "several queues on several workers" {
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

@test "a driver that comes and goes" {
	tap tap0
	serve ping -q -i 0.01 192.168.77.2
	guest "cd /sys/bus/virtio/drivers/virtio_net; dev=\$(basename \$(readlink /sys/class/net/eth0/device))
		for i in 1 2 3 4 5; do $me ping -q -c 2 -i 0.1 $host >/dev/null && echo pinged \$i
		echo \$dev >unbind; [ -e /sys/class/net/eth0 ] && echo still there; echo \$dev >bind; done" --net tap=tap0
	has "pinged 5"
	! has "still there"
	[ ! -s "$log" ]
}

@test "the guest outlives its network" {
	tap tap0
	start_guest "$me echo ready; sleep 2; ping -c 1 -W 1 $host >/dev/null; ip link del eth0 2>/dev/null; echo alive" \
		--net tap=tap0
	await_word ready
	inside ip link del tap0
	end_guest
	has alive
	[ "$status" = 0 ]
}

@test "the address is the one asked for, or a steady one" {
	tap tap0
	guest 'cat /sys/class/net/eth0/address' --net tap=tap0,mac=02:00:00:00:00:07
	has 02:00:00:00:00:07
	guest 'cat /sys/class/net/eth0/address' --net tap=tap0
	first=$output
	guest 'cat /sys/class/net/eth0/address' --net tap=tap0
	[ "$output" = "$first" ]
}

@test "one that is missing, busy, or none" {
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
