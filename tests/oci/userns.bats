# User namespaces around the machine, and podman without root.
# lab: memory=4G timeout=900
# shellcheck shell=bash disable=SC2154

load podman

# Users and ranges of ids are made up in the lab only, whose files are gone afterwards.
setup_file() {
	podman_file
	[ -n "${MICROVM_LAB:-}" ] || return 0
	grep -q ^containers: /etc/subuid || echo containers:200000:655360 | tee -a /etc/subuid >>/etc/subgid
	make_tester
}

teardown_file() {
	[ ! -e "$TESTER/conf" ] || LIMIT=20 rootless rm -af -t 0 >/dev/null 2>&1 || true
	end_file
	[ -z "$(ls /run/user/1500/microvm-oci 2>/dev/null)" ]
}

TESTER=$SCRATCH/tester # all that the user without root has

make_tester() {
	local kernel=$KERNEL_SMALL modules= program

	for program in newuidmap slirp4netns useradd; do
		command -v "$program" >/dev/null || return 0
	done
	mkdir -p "$TESTER"/{home,tmp,run}
	if [ -z "$kernel" ]; then
		kernel=$KERNEL_6_1
		cp -r "$MODULES_6_1" "$TESTER/modules"
		modules=", \"microvm.modules=$TESTER/modules\""
	fi
	cp "$kernel" "$TESTER/vmlinuz"
	cp "$RUNTIME" "$TESTER/microvm-oci"
	groupadd -f -r kvm
	useradd -u 1500 -U -G kvm -d "$TESTER/home" tester
	chgrp kvm /dev/kvm
	chmod 660 /dev/kvm
	chmod 666 /dev/net/tun
	sed "s|^annotations = .*|annotations = [ \"microvm.kernel=$TESTER/vmlinuz\"$modules ]|
		s|^microvm-oci = .*|microvm-oci = [ \"$TESTER/microvm-oci\" ]|
		/^network_config_dir/d" "$CONTAINERS_CONF" >"$TESTER/conf"
	tar -C "$POD/tree" -cf "$TESTER/image.tar" .
	chmod 755 "$SCRATCH"
	chown -R tester: "$TESTER"
	mkdir -p /run/user/1500
	chmod 700 /run/user/1500
	chown tester: /run/user/1500
	rootless import -q "$TESTER/image.tar" bb >/dev/null
}

# as_tester WORDS...: a command of the user without root.
as_tester() {
	(cd "$TESTER" && exec runuser -u tester -- env -i "HOME=$TESTER/home" USER=tester \
		XDG_RUNTIME_DIR=/run/user/1500 "PATH=$PATH" "TMPDIR=$TESTER/tmp" \
		"CONTAINERS_CONF=$TESTER/conf" "$@")
}

# rootless WORDS...: that user's podman.
rootless() {
	as_tester timeout -k 5 "${LIMIT:-90}" podman --root "$TESTER/root" \
		--runroot "$TESTER/run" --storage-driver overlay "$@" 3>&-
}

# run_rootless WORDS...: the same, as run_pod.
run_rootless() {
	status=0
	output=$(rootless "$@" 2>"$BATS_TEST_TMPDIR/errors") || status=$?
	errors=$(<"$BATS_TEST_TMPDIR/errors")
	printf '%s\n' "status $status" "$output" "$errors" | head -c 4000
}

# has LINE...: each is a line of the output.
has() {
	local line

	for line; do
		grep -qxF -- "$line" <<<"$output" || { echo "missing: $line"; return 1; }
	done
}

need_tester() {
	[ -n "${MICROVM_LAB:-}" ] || skip "makes up users: in the lab only"
	[ -e "$TESTER/conf" ] || skip "uidmap or slirp4netns is not installed"
}

@test "root in the guest is 100000 on the host, and what is not mapped is nobody's" {
	mkdir "$POD/tmp/vol"
	chown 100000:200000 "$POD/tmp/vol"
	echo host >"$POD/tmp/vol/of-host"
	chmod 644 "$POD/tmp/vol/of-host"
	once --uidmap 0:100000:60000 --gidmap 0:200000:60000 -v "$POD/tmp/vol:/v" bb sh -c '
		id -u; stat -c "%u %g %n" /etc /home/alice /v /v/of-host
		touch /v/made /v/alien; chown 5:6 /v/made; stat -c "%u %g %n" /v/made
		su alice -c "touch /home/alice/x; stat -c \"%u %g %n\" /home/alice/x"
		cat /v/of-host; echo more 2>/dev/null >>/v/of-host || echo refused
		chown 60001 /v/alien 2>/dev/null || echo "no such id"
		ln -s x /v/link; mknod /v/null c 1 3 2>/dev/null || echo "no device"'
	[ "$status" = 0 ]
	has 0 '0 0 /etc' '1000 1000 /home/alice' '0 0 /v' '65534 65534 /v/of-host' '5 6 /v/made' \
		'1000 1000 /home/alice/x' host refused 'no such id' 'no device'
	[ "$(cd "$POD/tmp/vol" && stat -c '%u %g %n' -- *)" = "100000 200000 alien
100000 200000 link
100005 200006 made
0 0 of-host" ]
}

@test "auto, with a network; joined by another; cp, exec; the machine's process is nobody on the host" {
	local pid

	grep -q ^containers: /etc/subuid || skip "no ids for the user containers"
	pod run -d --name auto --userns=auto -p 8090:80 bb sh -c \
		'mkdir /www; echo from the guest >/www/index.html; exec httpd -f -p 80 -h /www'
	pid=$(pod inspect -f '{{.State.Pid}}' auto)
	awk '$2 < 200000 { exit 1 }' "/proc/$pid/uid_map" "/proc/$pid/gid_map"
	awk '/^[UG]id:/ && $2 < 200000 || /^Groups:/ && $2 != "" { exit 1 }' "/proc/$pid/status"
	run_pod run --rm --network none --userns=container:auto bb stat -c %u /etc
	[ "$output" = 0 ]
	pod exec auto sh -c 'echo made >/made; chown 7:8 /made'
	pod cp auto:/made "$POD/tmp/made"
	[ "$(<"$POD/tmp/made")" = made ]
	pod cp "$POD/tmp/made" auto:/root/there
	run_pod exec --user 7 auto stat -c '%u %g %n' /made /root/there
	has '7 8 /made'
	run_pod exec auto cat /root/there
	[ "$output" = made ]
	run_pod top auto args
	[[ $output == *'httpd -f -p 80'* ]]
	ip link set lo up
	wait_until eval '[ "$(timeout 5 busybox wget -q -O - http://127.0.0.1:8090/)" = "from the guest" ]'
	pod rm -f -t 0 auto
}

@test "without root: ids, volumes, keep-id, groups, memory" {
	need_tester
	mkdir "$TESTER/vol"
	chown tester: "$TESTER/vol"
	chmod 600 /dev/net/tun # which is for networks
	run_rootless run --rm --network none --memory 300m --group-add keep-groups \
		-v "$TESTER/vol:/v" bb sh -c '
		id; stat -c "%u %g %n" /etc /home/alice /v; touch /v/a /v/b; chown 5:6 /v/b
		stat -c "%u %g %n" /v/b; awk "/MemTotal/ { print (\$2 < 307200) }" /proc/meminfo'
	chmod 666 /dev/net/tun
	[ "$status" = 0 ]
	has 'uid=0(root) gid=0(root) groups=0(root),65534' '0 0 /etc' '1000 1000 /home/alice' '0 0 /v' \
		'5 6 /v/b' 1
	[ "$(stat -c '%u %g' "$TESTER/vol/a" "$TESTER/vol/b")" = "1500 1500
100004 100005" ]
	run_rootless run --rm --network none --userns=keep-id -v "$TESTER/vol:/v" bb sh -c \
		'id -u; touch /v/c; stat -c "%u %n" /v /v/c /etc'
	[ "$status" = 0 ]
	has 1500 '1500 /v' '1500 /v/c' '0 /etc'
	[ "$(stat -c '%u %g' "$TESTER/vol/c")" = '1500 1500' ]
}

@test "without root: privileged means the guest's own, and bridges are as they are" {
	need_tester
	run_rootless run --rm --network none --privileged bb sh -c 'mount -t tmpfs x /tmp && echo mounted'
	[ "$output" = mounted ]
	rootless network create --subnet 10.99.0.0/24 mine
	rootless run -d --name web --network mine bb sh -c \
		'mkdir /www; echo from the guest >/www/index.html; exec httpd -f -p 80 -h /www'
	run_rootless run --rm --network mine bb sh -c \
		'until wget -q -O - http://web/ 2>/dev/null; do sleep 0.2; done'
	[ "$output" = 'from the guest' ]
	rootless rm -f -t 0 web
}

@test "without root: a container that stays, a published port, exec, cp, stop" {
	need_tester
	rootless run -d --name web --network slirp4netns:port_handler=slirp4netns -p 8091:80 bb sh -c \
		'trap "exit 3" TERM; mkdir /www; echo from the guest >/www/index.html
		httpd -p 80 -h /www; echo ready; while :; do sleep 0.2; done'
	ip link set lo up
	wait_until eval '[ "$(timeout 5 busybox wget -q -O - http://127.0.0.1:8091/)" = "from the guest" ]'
	run_rootless exec web sh -c 'echo made >/made; exit 5'
	[ "$status" = 5 ]
	run_rootless cp web:/made "$TESTER/tmp/made"
	[ "$(<"$TESTER/tmp/made")" = made ]
	[ "$(rootless logs web)" = ready ]
	rootless stop -t 30 web
	run_rootless wait web
	[ "$output" = 3 ]
	rootless rm web
}

# tester_bundle FILTER [spec's WORDS...]: a bundle of the tester's, as `spec` makes it and jq changes it.
tester_bundle() {
	local filter=$1 bundle=$TESTER/bundle

	shift
	command -v jq >/dev/null || skip "jq is not installed"
	rm -rf "$bundle"
	as_tester mkdir -p "$bundle/rootfs"
	as_tester cp -a "$POD/tree/." "$bundle/rootfs/"
	as_tester "$TESTER/microvm-oci" spec --bundle "$bundle" "$@"
	jq ".annotations = { \"microvm.kernel\": \"$TESTER/vmlinuz\" } | .process.terminal = false |
		.root.readonly = false |
		.process.capabilities |= map_values(. + [ \"CAP_CHOWN\" ]) | $filter" "$bundle/config.json" >"$TESTER/config"
	[ ! -e "$TESTER/modules" ] || sed -i "s|\"microvm.kernel\"|\"microvm.modules\":\"$TESTER/modules\",&|" "$TESTER/config"
	cp "$TESTER/config" "$bundle/config.json"
}

@test "without root: hooks run among the engine's processes, and not among the container's" {
	need_tester
	tester_bundle ".process.args = [ \"true\" ] | .hooks = ([ \"prestart\", \"createRuntime\",
		\"createContainer\", \"poststart\", \"poststop\" ] | map({ (.): [ { path: \"/bin/sh\",
		args: [ \"sh\", \"-c\", \"readlink /proc/self/ns/pid >>$TESTER/tmp/hooks\" ] } ] }) | add)"
	rootless unshare "$TESTER/microvm-oci" run --bundle "$TESTER/bundle" x
	[ "$(uniq -c "$TESTER/tmp/hooks" | tr -s ' ')" = " 5 $(readlink /proc/self/ns/pid)" ]
}

# own WORDS...: the runtime, called by the tester himself; sets status, output, errors.
own() {
	status=0
	as_tester timeout -k 5 60 "$TESTER/microvm-oci" "$@" >"$BATS_TEST_TMPDIR/out" \
		2>"$BATS_TEST_TMPDIR/errors" </dev/null 3>&- || status=$?
	output=$(<"$BATS_TEST_TMPDIR/out") errors=$(<"$BATS_TEST_TMPDIR/errors")
	printf '%s\n' "status $status" "$output" "$errors"
}

# The tester's runtime has left nothing.
own_gone() {
	! pgrep -u tester -x microvm-oci && [ -z "$(ls /run/user/1500/microvm-oci)" ]
}

@test "an ordinary user by himself: run, with the ids of /etc/subuid" {
	need_tester
	tester_bundle '.process.args = [ "sh", "-c", "id -u; touch /a /b; chown 5:6 /b; stat -c %u:%g /a /b
		ls -A /sys/class/net; exit 7" ]'
	own run --bundle "$TESTER/bundle" x
	[ "$status" = 7 ]
	has 0 0:0 5:6 lo
	[ "$(stat -c '%u %g' "$TESTER/bundle/rootfs/a" "$TESTER/bundle/rootfs/b")" = "1500 1500
100004 100005" ]
	own_gone
	# As `spec` has it: at a terminal.
	tester_bundle '.process.terminal = true | .process.args = [ "sh", "-c", "tty; stty size" ]'
	run as_tester timeout -k 5 60 script -qec "stty rows 30 cols 70
		$TESTER/microvm-oci run --bundle $TESTER/bundle x" /dev/null </dev/null 3>&-
	[ "$status" = 0 ]
	[[ $output == *"/dev/pts/0"*"30 70"* ]]
	own_gone
}

@test "an ordinary user by himself: create, start, exec, kill, delete; spec --rootless" {
	local pid

	need_tester
	tester_bundle '.process.args = [ "sh", "-c", "trap \"exit 3\" TERM; while :; do sleep 0.2; done" ]' --rootless
	own create --bundle "$TESTER/bundle" --pid-file "$TESTER/tmp/pid" x
	[ "$status" = 0 ]
	pid=$(<"$TESTER/tmp/pid")
	# Root in there is this user, two namespaces down.
	[ "$(tr -s ' ' <"/proc/$pid/uid_map")" = " 0 1500 1" ]
	own list
	[[ $output == *"x "*"$pid"*created*"$TESTER/bundle"* ]]
	own start x
	[ "$status" = 0 ]
	own exec x sh -c 'touch /made; id -u; exit 5'
	[ "$status" = 5 ] && [ "$output" = 0 ]
	[ "$(stat -c %u "$TESTER/bundle/rootfs/made")" = 1500 ]
	own delete x
	[ "$status" = 1 ] && [[ $errors == *"it is running"* ]]
	own kill x TERM
	[ "$status" = 0 ]
	wait_until eval 'own state x | grep -q stopped'
	own delete x
	[ "$status" = 0 ]
	own_gone
	own create --bundle "$TESTER/bundle" x
	own delete --force x
	[ "$status" = 0 ]
	own_gone
}

@test "an ordinary user by himself: only his own id, a network of its own; what is forbidden is said" {
	local most

	need_tester
	tester_bundle '.process.args = [ "sh", "-c", "id -u; touch /a; chown 5 /a || echo alone; stat -c %u /a" ] |
		.linux.namespaces |= map(select(.type != "network"))'
	as_tester env PATH=/nowhere "$TESTER/microvm-oci" run --bundle "$TESTER/bundle" x \
		>"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/errors"
	cat "$BATS_TEST_TMPDIR/errors"
	[ "$(<"$BATS_TEST_TMPDIR/out")" = "0
alone
0" ]
	tester_bundle '.linux.uidMappings[0].hostID = 0' --rootless
	own run --bundle "$TESTER/bundle" x
	[ "$status" = 1 ]
	[[ $errors == *linux.uidMappings*"this user has but his own"* ]]
	most=$(</proc/sys/user/max_user_namespaces)
	echo 0 >/proc/sys/user/max_user_namespaces
	own run --bundle "$TESTER/bundle" x
	echo "$most" >/proc/sys/user/max_user_namespaces
	[ "$status" = 1 ] && [ "$(wc -l <"$BATS_TEST_TMPDIR/errors")" = 1 ]
	[[ $errors == *"needs a user namespace"*max_user_namespaces* ]]
	own_gone
}

@test "without root: what is missing is said" {
	need_tester
	chmod 600 /dev/kvm
	run_rootless run --rm --network none bb true
	chmod 660 /dev/kvm
	[ "$status" != 0 ]
	[[ $errors == *"/dev/kvm: permission denied"*"usermod -aG kvm"* ]]
	run_rootless run --rm --network none --uidmap 0:0:1 --uidmap 1:70000:1 bb true
	[ "$status" != 0 ]
}
