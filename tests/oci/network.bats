# The container's network: what podman sets up is what the guest has.
# lab: memory=4G timeout=900
# shellcheck shell=bash disable=SC2154

load podman

setup_file() {
	podman_file
	pod network create --subnet 10.77.0.0/24 --subnet fd77::/64 --ipv6 one >/dev/null
	pod network create --subnet 10.78.0.0/24 two >/dev/null
	pod run -d --name web --network one --ip 10.77.0.10 --mac-address 02:11:22:33:44:55 \
		-p 8080:80 -p 127.0.0.1:8081:80 bb sh -c \
		'mkdir /www; echo from the guest >/www/index.html; exec httpd -f -p 80 -h /www' >/dev/null
}

teardown_file() {
	end_file
	[ -z "$(ip netns list)" ]
	[ -z "$(ip -br link | grep -E 'mvtap|veth')" ]
}

answers() {
	[ "$(timeout 5 busybox wget -q -O - "$1" 2>/dev/null)" = 'from the guest' ]
}

echoes() {
	[ "$(echo hello | timeout 10 socat -t 3 - UDP:127.0.0.1:5353 2>/dev/null)" = hello ]
}

@test "a published port, on every address and on one" {
	ip link set lo up
	wait_until answers http://10.77.0.10/
	answers http://127.0.0.1:8080/
	answers http://127.0.0.1:8081/
	answers http://10.77.0.1:8080/
	! answers http://10.77.0.1:8081/ || return 1
}

@test "a published port of UDP" {
	pod run -d --name udp -p 5353:5353/udp -v /usr:/usr:ro -v /lib:/lib:ro -v /lib64:/lib64:ro \
		bb /usr/bin/socat UDP-LISTEN:5353,fork EXEC:/bin/cat
	wait_until echoes
	pod rm -f -t 0 udp
}

@test "name, address and MAC are those that podman gave, of IPv6 as well" {
	run_pod exec web ip addr show eth0
	[[ $output == *02:11:22:33:44:55* ]]
	[[ $output == *10.77.0.10/24* ]]
	[[ $output == *fd77::* ]]
	ping -c 1 -W 5 "$(pod inspect -f '{{.NetworkSettings.Networks.one.GlobalIPv6Address}}' web)"
	run_pod exec web ip route
	[[ $output == *"default via 10.77.0.1"* ]]
}

@test "two networks at once, and names of others on them" {
	run_pod run --rm --network one --network two bb sh -c \
		'ip addr; ip route; wget -q -O - http://web/; wget -q -O - http://10.77.0.10/'
	[ "$status" = 0 ]
	[[ $output == *eth0*eth1* ]]
	[[ $output == *10.77.0.*10.78.0.* || $output == *10.78.0.*10.77.0.* ]]
	[[ $output == *"from the guest"*"from the guest"* ]]
}

@test "no network is only lo; the host's is one of its own, with a warning" {
	run_pod run --rm --network none bb ls /sys/class/net
	[ "$output" = lo ]
	run_pod run --rm --network host bb ip -o -4 addr
	[ "$status" = 0 ]
	[[ $output == *10.0.2.15* ]]
}

@test "slirp4netns" {
	command -v slirp4netns || skip "slirp4netns is not installed"
	run_pod run --rm --network slirp4netns bb ip -o -4 addr
	[ "$status" = 0 ]
	[[ $output == *tap0*10.0.2.100* ]]
}

# serve NAME PORT WORDS...: a container of that name, with these options, that says its name at PORT.
serve() {
	pod run -d --name "$1" "${@:3}" bb sh -c \
		"mkdir /www; echo $1 >/www/index.html; exec httpd -f -p $2 -h /www" >/dev/null
}

# says WORD URL [CONTAINER]: what is fetched, by this host or in the container.
says() {
	[ "$(timeout 40 ${3:+podman --root "$POD/root" --runroot "$POD/run" --storage-driver overlay \
		exec "$3"} busybox wget -q -O - "$2" 2>/dev/null)" = "$1" ]
}

@test "a second machine in the network of a first: each reaches what the other serves" {
	serve second 81 --network container:web
	wait_until says second http://10.77.0.10:81/
	wait_until says second http://127.0.0.1:81/ web
	wait_until says 'from the guest' http://127.0.0.1:80/ second
	wait_until says second http://127.0.0.1:81/ second
	# And what is outside.
	run_pod exec second ping -c 1 -W 5 10.77.0.1
	[ "$status" = 0 ]
	mkdir -p "$POD/tmp/www"
	echo host >"$POD/tmp/www/index.html"
	busybox httpd -f -p 10.77.0.1:8097 -h "$POD/tmp/www" 3>&- &
	wait_until says host http://10.77.0.1:8097/ second
	says host http://10.77.0.1:8097/ web
	kill $!
	# The first goes on as before.
	answers http://127.0.0.1:8080/
	ping -c 1 -W 5 10.77.0.10
	run_pod exec web ping -c 1 -W 5 10.77.0.1
	[ "$status" = 0 ]
	# A port is one machine's.
	run_pod exec web busybox nc -l -p 81
	[ "$status" != 0 ]
	pod rm -f -t 0 second
	wait_until eval '! says second http://10.77.0.10:81/'
	answers http://127.0.0.1:8080/
}

@test "a second machine without a share of it" {
	run_pod run --rm --network container:web --annotation microvm.network=none bb ls /sys/class/net
	[ "$output" = lo ]
	answers http://127.0.0.1:8080/
}

@test "the host's network: what listens there and in the machine is at localhost of both" {
	mkdir -p "$POD/tmp/www"
	echo host >"$POD/tmp/www/index.html"
	busybox httpd -f -p 127.0.0.1:8098 -h "$POD/tmp/www" 3>&- &
	serve hosted 8099 --network host
	wait_until says hosted http://127.0.0.1:8099/
	wait_until says host http://127.0.0.1:8098/ hosted
	kill $!
	pod rm -f -t 0 hosted
	wait_until eval '! says hosted http://127.0.0.1:8099/'
}

@test "another interface in the place of the first: reloaded, disconnected and connected" {
	local before after

	run_pod network reload web
	[ "$status" = 0 ]
	wait_until answers http://127.0.0.1:8080/
	before=$(pod exec web ip -o addr show eth0)
	pod network disconnect one web
	! answers http://127.0.0.1:8080/ || return 1
	pod network connect one web
	wait_until answers http://127.0.0.1:8080/
	after=$(pod exec web ip -o addr show eth0)
	[[ $after == *10.77.0.* && $after != "$before" ]]
}

@test "a pod: its containers are at each other's localhost, and have its ports" {
	[ -x /usr/libexec/podman/catatonit ] || skip "catatonit is not installed"
	pod pod create --name pod --hostname podbox -p 8090:80 -p 8091:81 >/dev/null
	# What stays behind for the pod's sake does not keep hold of the output.
	pod run --rm --pod pod bb hostname | timeout 60 cat >"$BATS_TEST_TMPDIR/word"
	[ "$(<"$BATS_TEST_TMPDIR/word")" = podbox ]
	serve one 80 --pod pod
	# What another serves is there from the beginning.
	wait_until says one http://127.0.0.1:8090/
	[ "$(pod run --rm --pod pod bb wget -q -O - http://127.0.0.1/)" = one ]
	serve two 81 --pod pod
	wait_until says one http://127.0.0.1:8090/
	wait_until says two http://127.0.0.1:8091/
	wait_until says two http://127.0.0.1:81/ one
	wait_until says one http://localhost:80/ two
	# Either may come and go.
	pod restart -t 0 one >/dev/null
	wait_until says one http://127.0.0.1:8090/
	wait_until says one http://127.0.0.1/ two
	wait_until says two http://127.0.0.1:8091/
	pod rm -f -t 0 one >/dev/null
	wait_until says two http://127.0.0.1:8091/
	pod pod rm -f -t 0 pod >/dev/null
}

@test "a pod whose infra container is of an image of its own" {
	pod pod create --name own --infra-image bb --infra-command /pause -p 8092:80 >/dev/null
	serve three 80 --pod own
	wait_until says three http://127.0.0.1:8092/
	# The pod's interface is the container's, not the sleeper's.
	run_pod exec three ip addr show eth0
	[ "$status" = 0 ]
	[[ $output != *10.0.2.15* ]]
	pod pod rm -f -t 0 own >/dev/null
}

@test "after a restart all is as before" {
	pod restart -t 1 web
	wait_until answers http://127.0.0.1:8080/
}
