# NOTIFY_SOCKET: what a container says to the manager of its service arrives there.
# lab: memory=3G timeout=900
# shellcheck shell=bash disable=SC2154

load bundle

NOTIFY=$REPO/build/tests/vm/notify

setup_file() {
	[ -x "$NOTIFY" ] || skip "the test program is not built"
	podman_file
}

teardown_file() {
	end_file
}

setup() {
	bundle_setup
	log=$BATS_TEST_TMPDIR/log
	cp "$NOTIFY" "$BUNDLE/rootfs/usr/bin/notify"
}

teardown() {
	[ -z "${manager:-}" ] || kill "$manager" || true
	unset NOTIFY_SOCKET
	pod rm -af -t 0 >/dev/null 2>&1
	bundle_teardown
}

# listen NAME: a manager there, that NOTIFY_SOCKET names; what it hears is in log.
listen() {
	"$NOTIFY" listen "$1" >"$log" 3>&- &
	manager=$!
	export NOTIFY_SOCKET=$1
	wait_until grep -qF -- "$1" /proc/net/unix
}

# heard LINES: the manager has by now.
heard() {
	LIMIT=20 wait_until said "$1" || { cat "$log"; return 1; }
}

said() {
	[ "$(<"$log")" = "$1" ]
}

@test "podman --sdnotify=container: conmon hears the container, whatever its user" {
	local conmon

	listen "$BATS_TEST_TMPDIR/manager"
	run_pod run -d --name box --network none --sdnotify=container --user alice \
		-v "$NOTIFY:/usr/bin/notify" bb sh -c 'echo "$NOTIFY_SOCKET"; touch /tmp/up
		while ! [ -e /tmp/go ]; do sleep 0.1; done
		notify "MAINPID=1" "STATUS=on the way" "READY=1\nX=y" && echo said; sleep 1000'
	[ "$status" = 0 ]
	conmon=$(pod inspect -f '{{.State.ConmonPid}}' box)
	heard "MAINPID=$conmon"
	pod exec box touch /tmp/go
	heard "MAINPID=$conmon
READY=1"
	run_pod logs box
	[ "$output" = "/run/notify/notify.sock
said" ]
	pod rm -f -t 0 box
}

@test "podman --sdnotify=conmon: the container is told nothing" {
	listen "$BATS_TEST_TMPDIR/manager"
	once --sdnotify=conmon bb sh -c 'echo "<$NOTIFY_SOCKET>"; ls -A /run'
	[ "$status" = 0 ] && [ "${output%%$'\n'*}" = '<>' ]
	[[ $output != *notify* ]]
}

@test "by itself: run in the foreground passes it on, in its own name" {
	listen @microvm-test-notify
	write_config sh -c "echo \$NOTIFY_SOCKET; notify MAINPID=1 READY=1 BARRIER=1 FDSTORE=1 && echo said; notify STOPPING=1 STATUS=gone"
	oci run --bundle "$BUNDLE" x
	[ "$status" = 0 ]
	[ "$output" = "/run/notify/notify
said" ]
	heard "READY=1
STOPPING=1
STATUS=gone"
	[ ! -s "$BUNDLE/rootfs/run/notify/notify" ]
}

@test "by itself: create says which process is to be watched; a manager that goes is no error" {
	local pid

	listen "$BATS_TEST_TMPDIR/manager"
	write_config sh -c 'notify READY=1; while ! [ -e /go ]; do sleep 0.1; done; notify STOPPING=1; exit 7'
	oci create --bundle "$BUNDLE" x
	[ "$status" = 0 ]
	pid=$("$RUNTIME" --root "$OCI_ROOT" state x | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p')
	oci start x
	[ "$status" = 0 ]
	heard "MAINPID=$pid
READY=1"
	kill "$manager"
	wait "$manager" || true
	manager=
	touch "$BUNDLE/rootfs/go"
	wait_until eval '"$RUNTIME" --root "$OCI_ROOT" state x | grep -q stopped'
	oci delete x
	[ "$status" = 0 ]
	# Nobody listens any more: then there is nothing for the container either.
	write_config sh -c "echo '<'\$NOTIFY_SOCKET'>'"
	oci run --bundle "$BUNDLE" x
	[ "$status" = 0 ] && [ "$output" = '<>' ]
}
