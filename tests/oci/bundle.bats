# Bundles by hand: what is wrong in them, hooks that fail, and the runtime killed at any moment.
# lab: memory=3G timeout=900
# shellcheck shell=bash disable=SC2154

load bundle

setup() {
	bundle_setup
}

teardown() {
	ip netns del mvtest 2>/dev/null || true
	bundle_teardown
}

# refuses EXPRESSION PATTERN ...: create is refused when jq has changed the configuration so.
refuses() {
	local expressions=() patterns=() i=0 changed

	command -v jq >/dev/null || skip "jq is not installed"
	while [ $# -gt 0 ]; do
		expressions+=("($1),") patterns+=("$2")
		shift 2
	done
	jq -c "${expressions[*]} empty" "$BUNDLE/config.json" >"$BATS_TEST_TMPDIR/changed"
	while read -r changed <&4; do
		echo "-- ${expressions[i]}"
		printf '%s' "$changed" >"$BUNDLE/config.json"
		refused "${patterns[i++]}" create --bundle "$BUNDLE" x
	done 4<"$BATS_TEST_TMPDIR/changed"
	[ "$i" = ${#patterns[@]} ]
}

nothing_made() {
	[ -z "$(ls -A "$OCI_ROOT")" ] && [ ! -e /sys/fs/cgroup/microvm-test ]
}

@test "what is no bundle, and what is no configuration" {
	local config=$BUNDLE/config.json good=$BATS_TEST_TMPDIR/good i byte

	mv "$config" "$good"
	refused '*Not a directory*' create --bundle "$good" x
	refused '*config.json*' create --bundle "$BUNDLE" x
	mkdir "$config"
	refused '*config.json*directory*' create --bundle "$BUNDLE" x
	rmdir "$config"
	mkfifo "$config"
	refused '*config.json*' create --bundle "$BUNDLE" x
	rm "$config"
	for i in /dev/zero /dev/null config.json; do
		ln -sf "$i" "$config"
		refused '*config.json*' create --bundle "$BUNDLE" x
		rm "$config"
	done
	# A byte that cannot be where it is: it is said, or it was within a string.
	for ((i = 0; i < $(stat -c %s "$good"); i += 211)); do
		byte=$(printf '\\x%02x' $((i * 7 % 32)))
		{ head -c "$i" "$good"; printf '%b' "$byte"; tail -c +$((i + 1)) "$good"; } >"$config"
		case $byte in '\x09' | '\x0a' | '\x0d') continue ;; esac
		refused '*config.json*' create --bundle "$BUNDLE" x
	done
	for i in '' '{' '[]' 'null' '{}' '"x"' '{"ociVersion":1}' '{"ociVersion":"1.0.0"}{}' \
		"$(printf '{"a":%.0s' {1..40})"; do
		printf '%s' "$i" >"$config"
		refused '*config.json*' create --bundle "$BUNDLE" x
	done
	nothing_made
}

@test "wrong types, versions, values" {
	refuses '.ociVersion = 1' '*ociVersion*' \
		'.ociVersion = "2.0.0"' '*ociVersion*version 1*' \
		'.ociVersion = "1"' '*ociVersion*' \
		'del(.root)' '*root*missing*' \
		'.root = "rootfs"' '*root*object*' \
		'.process = []' '*process*object*' \
		'.process.args = "sh"' '*process.args*' \
		'.process.args = [1]' '*process.args*' \
		'.process.args = []' '*process.args*' \
		'.process.env = {}' '*process.env*' \
		'del(.process.cwd)' '*process.cwd*' \
		'.process.cwd = "tmp"' '*process.cwd*absolute*' \
		'.process.user.uid = -1' '*process.user.uid*' \
		'.process.user.uid = 7.5' '*process.user.uid*' \
		'.process.rlimits = [{"type":"RLIMIT_NONE","soft":1,"hard":1}]' '*rlimits*RLIMIT_NONE*' \
		'.mounts = {}' '*mounts*' \
		'.mounts[0] = 7' '*mounts[[]0]*' \
		'.mounts += [{"destination":"/m","type":"bind","source":"/none","options":["bind"]}]' \
		'*mounts*no such file or directory*' \
		'.mounts += [{"destination":"/m","type":"ext4","source":"/dev/vda"}]' '*mounts*ext4*' \
		'.linux = "x"' '*linux*object*' \
		'.linux.namespaces[0].type = "none"' '*namespaces*none*' \
		'.linux.namespaces += [{"type":"pid"}]' '*twice*' \
		'.linux.cgroupsPath = "/../../tmp"' '*cgroupsPath*' \
		'.linux.sysctl = {"kernel.hostname":"x"}' '*sysctl*kernel.hostname*' \
		'.linux.seccomp = {"defaultAction":"SCMP_ACT_NOTIFY"}' '*seccomp*' \
		'.linux.devices = [{"path":"/dev/kmsg","type":"c","major":1,"minor":11}]' '*kmsg*host*' \
		'.annotations["microvm.nonsense"] = "1"' '*microvm.nonsense*' \
		'.hooks.prestart = [{"path":"relative"}]' '*hooks*path*' \
		'.hooks.poststop = [{"path":"/bin/true","timeout":0}]' '*hooks*timeout*'
	nothing_made
}

@test "without a process: it is made, and its start refused" {
	command -v jq >/dev/null || skip "jq is not installed"
	MORE="\"hooks\": { \"startContainer\": [ { \"path\": \"/bin/touch\", \"args\": [ \"touch\",
		\"$BATS_TEST_TMPDIR/hook\" ] } ] }," write_config sh
	jq -c 'del(.process)' "$BUNDLE/config.json" >"$BATS_TEST_TMPDIR/changed"
	mv "$BATS_TEST_TMPDIR/changed" "$BUNDLE/config.json"
	oci create --bundle "$BUNDLE" x
	[ "$status" = 0 ]
	refused '*cannot start container x*process*' start x
	[ ! -e "$BATS_TEST_TMPDIR/hook" ]
	oci state x
	[[ $output == *'"status":"created"'* ]]
	oci delete --force x
	[ "$status" = 0 ]
	refused '*cannot start container x*process*' run --bundle "$BUNDLE" x
	nothing_made
}

@test "sockets of systemd's: a warning, and the container runs without them" {
	write_config sh -c 'echo [$LISTEN_FDS]'
	LISTEN_FDS=1 oci run --bundle "$BUNDLE" x
	[ "$status" = 0 ]
	[ "$output" = '[]' ]
	[[ $errors == *'warning: LISTEN_FDS=1: a socket of the host cannot be passed'* ]]
	nothing_made
}

@test "what only shows when it is made" {
	refuses '.linux.namespaces[3] = {"type":"mount","path":"/none"}' '*mount namespace*' \
		'.linux.namespaces[4] = {"type":"network","path":"/proc/self/ns/ipc"}' '*network*' \
		'.annotations["microvm.kernel"] = "/none"' '*/none*' \
		'.linux.resources.unified = {"memory.none":"1"}' '*memory.none*no such file or directory*'
	nothing_made
}

@test "a root, a socket, a pid file that cannot be" {
	local pid=$BATS_TEST_TMPDIR/pid

	python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' \
		"$BATS_TEST_TMPDIR/stale"
	TERMINAL=true write_config sh
	refused '*console-socket*refused*' create --bundle "$BUNDLE" \
		--console-socket "$BATS_TEST_TMPDIR/stale" x
	refused '*console-socket*' create --bundle "$BUNDLE" --console-socket "$BUNDLE/config.json" x
	refused '*terminal*console-socket*' run --detach --bundle "$BUNDLE" x
	write_config sh
	mkdir "$pid"
	refused '*pid-file*' create --bundle "$BUNDLE" --pid-file "$pid" x
	mv "$BUNDLE/rootfs" "$BUNDLE/tree"
	touch "$BUNDLE/rootfs"
	refused '*rootfs*' create --bundle "$BUNDLE" x
	rm "$BUNDLE/rootfs"
	ln -s rootfs "$BUNDLE/rootfs"
	refused '*rootfs*' create --bundle "$BUNDLE" x
	rm "$BUNDLE/rootfs"
	mv "$BUNDLE/tree" "$BUNDLE/rootfs"
	nothing_made
	[ -z "$(ls -A "$pid")" ]
}

# hooks KIND BODY: the configuration with such a hook of that kind, and one of each end.
hooks() {
	local end="{ \"path\": \"/bin/sh\", \"args\": [ \"sh\", \"-c\", \"echo end >>$BATS_TEST_TMPDIR/said\" ] }"

	rm -f "$BATS_TEST_TMPDIR/said"
	MORE="\"hooks\": { \"$1\": [ $2 ]" write_hooks "$1" "$end"
}

write_hooks() {
	if [ "$1" = poststop ]; then
		MORE="${MORE%]}, $2 ] }," write_config sleep 1000
	else
		MORE="$MORE, \"poststop\": [ $2 ] }," write_config sleep 1000
	fi
}

FAIL='{ "path": "/bin/sh", "args": [ "sh", "-c", "echo broken >&2; exit 3" ] }'
HANG='{ "path": "/bin/sleep", "args": [ "sleep", "100" ], "timeout": 1 }'
GONE='{ "path": "/nonexistent/hook" }'

@test "a socket of the host's in a root without /proc; not where /proc leads elsewhere" {
	local streams=$REPO/build/tests/vm/streams sock=$BATS_TEST_TMPDIR/sock

	[ -x "$streams" ] || skip "the test program is not built"
	"$streams" echo "unix:$sock" 2>"$BATS_TEST_TMPDIR/ready" 3>&- &
	server=$!
	wait_until grep -q ready "$BATS_TEST_TMPDIR/ready"
	cp "$streams" "$BUNDLE/rootfs/usr/bin/"
	MOUNTS=", { \"destination\": \"/s\", \"type\": \"bind\", \"source\": \"$sock\", \"options\": [ \"bind\" ] }" \
		write_config sh -c 'echo word | streams pipe unix:/s'
	rmdir "$BUNDLE/rootfs/proc"
	oci run --bundle "$BUNDLE" x
	[ "$status" = 0 ] && [ "$output" = word ]
	rmdir "$BUNDLE/rootfs/proc"
	ln -s etc "$BUNDLE/rootfs/proc"
	refused '*/s: the socket for it cannot be reached without /proc*' run --bundle "$BUNDLE" x
	nothing_made
	kill "$server"
}

@test "hooks before the start that fail, hang or are not there: no container, and the end's run" {
	local kind

	for kind in prestart createRuntime createContainer; do
		hooks $kind "$FAIL"
		refused "*$kind*status 3*broken*" create --bundle "$BUNDLE" x
		[ "$(<"$BATS_TEST_TMPDIR/said")" = end ]
		[ $kind != prestart ] || hooks $kind "$HANG"
		[ $kind != prestart ] ||
			refused "*$kind*did not end within 1 s*" create --bundle "$BUNDLE" x
		hooks $kind "$GONE"
		refused "*$kind*/nonexistent/hook*not there*" create --bundle "$BUNDLE" x
		[ "$(<"$BATS_TEST_TMPDIR/said")" = end ]
		nothing_made
	done
	hooks startContainer "$FAIL"
	oci create --bundle "$BUNDLE" x
	[ "$status" = 0 ]
	refused "*startContainer*status 3*broken*" start x
	oci state x
	[[ $output == *'"status":"stopped"'* ]]
	oci delete x
	[ "$status" = 0 ] && [ "$(<"$BATS_TEST_TMPDIR/said")" = end ]
	nothing_made
}

@test "hooks behind it: a warning, and the others run" {
	hooks poststart "$FAIL, $HANG, $GONE"
	oci run --detach --bundle "$BUNDLE" x
	[ "$status" = 0 ]
	[[ $errors == *warning*poststart*status*warning*'not end'*warning*'not there'* ]]
	oci state x
	[[ $output == *'"status":"running"'* ]]
	oci delete --force x
	[ "$status" = 0 ] && [ "$(<"$BATS_TEST_TMPDIR/said")" = end ]
	hooks poststop "$FAIL, $HANG, $GONE"
	oci create --bundle "$BUNDLE" x
	[ "$status" = 0 ] && [ -z "$errors" ]
	oci delete --force x
	[ "$status" = 0 ] && [ "$(<"$BATS_TEST_TMPDIR/said")" = end ]
	[[ $errors == *warning*poststop*status*warning*'not end'*warning*'not there'* ]]
	nothing_made
}

@test "process 1, its devices, its mounts; pause, exec, update in a state that does not suit" {
	local id=a.b_c-d+e@f:9

	MOUNTS=', { "destination": "/dev", "type": "tmpfs", "options": [ "nosuid", "mode=755" ] },
		{ "destination": "/dev/pts", "type": "devpts", "options": [ "newinstance", "ptmxmode=0666" ] },
		{ "destination": "/mnt/new/place", "type": "tmpfs", "options": [ "ro", "sync", "mode=700" ] }' \
		write_config sh -c 'trap \"exit 7\" TERM; while :; do sleep 0.1; done'
	oci create --bundle "$BUNDLE" "$id"
	[ "$status" = 0 ]
	refused '*is created*' resume "$id"
	oci start "$id"
	[ "$status" = 0 ]
	oci exec "$id" sh -c 'tr "\0" " " </proc/1/cmdline; ls /dev; grep new/place /proc/mounts; ps'
	[[ $output == *'sh -c trap'* && $output == *' ro,'*'sync'* && $output != */init* ]]
	[[ $output == *urandom* && $output != *kmsg* ]]
	oci exec --env PATH=/usr/bin:/bin --env A=b "$id" sh -c 'env | grep -E "^(PATH|A)=" | sort | tr "\n" " "'
	[ "$output" = "A=b PATH=/usr/bin:/bin " ]
	oci exec --cap KILL --no-new-privs "$id" grep -E 'CapEff|NoNewPrivs' /proc/self/status
	[[ $output == *0000020*NoNewPrivs:?1 ]]
	refused '*is running*' resume "$id"
	oci pause "$id"
	[ "$status" = 0 ]
	refused '*paused*' exec "$id" true
	refused '*paused*' start "$id"
	refused '*paused*' delete "$id"
	oci resume "$id"
	[ "$status" = 0 ]
	echo '{"memory":{"limit":"much"}}' >"$BATS_TEST_TMPDIR/resources"
	refused '*memory.limit*' update --resources "$BATS_TEST_TMPDIR/resources" "$id"
	oci kill "$id" TERM
	wait_until eval "oci state $id | grep -q stopped"
	refused '*stopped*' update --memory 2000000000 "$id"
	refused '*stopped*' pause "$id"
	oci delete --regex '^a.b_c-d[+]'
	[ "$status" = 0 ]
	nothing_made
}

# killed DELAY WORDS...: the runtime with these words, and kill -9 for it after so long.
killed() {
	local delay=$1 pid

	shift
	"$RUNTIME" --root "$OCI_ROOT" "$@" </dev/null >/dev/null 2>&1 3>&- &
	pid=$!
	sleep "$delay"
	kill -9 "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
}

# all_gone: no process, state, group, mount, and nothing of ours in the network namespace.
all_gone() {
	nothing_left && mounts | diff "$BATS_TEST_TMPDIR/mounts" - || return 1
	[ "$(ip -n mvtest -br link | grep -vcE '^(lo|eth0)')" = 0 ] &&
		! tc -n mvtest qdisc show dev eth0 | grep clsact
}

@test "killed in create, start, exec, delete, and the machine itself: nothing stays" {
	local delay

	ip netns add mvtest
	ip -n mvtest link add eth0 type dummy
	ip -n mvtest addr add 10.99.0.2/24 dev eth0
	ip -n mvtest link set eth0 up
	NETNS=/run/netns/mvtest write_config sleep 1000
	for delay in 0.01 0.03 0.06 0.15 0.3; do
		killed "$delay" create --bundle "$BUNDLE" x
		oci delete --force x
		[ "$status" = 0 ]
		wait_until all_gone
	done
	for delay in 0.01 0.05 0.2; do
		oci create --bundle "$BUNDLE" x
		[ "$status" = 0 ]
		killed "$delay" start x
		killed 0.02 delete --force x
		oci delete --force x
		[ "$status" = 0 ]
		wait_until all_gone
	done
	oci run --detach --pid-file "$BATS_TEST_TMPDIR/pid" --bundle "$BUNDLE" x
	[ "$status" = 0 ]
	killed 0.3 exec x sleep 100
	oci exec x true
	[ "$status" = 0 ]
	kill -9 "$(<"$BATS_TEST_TMPDIR/pid")"
	wait_until eval 'oci state x | grep -q stopped'
	for delay in 0.005 0.01; do
		killed "$delay" delete x
	done
	oci delete --force x
	[ "$status" = 0 ]
	wait_until all_gone
}
