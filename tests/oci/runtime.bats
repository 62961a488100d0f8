# The runtime by itself: what is said of wrong order and wrong input, and that nothing stays.
# lab: memory=3G timeout=600
# shellcheck shell=bash disable=SC2154

load bundle

setup() {
	bundle_setup
}

teardown() {
	bundle_teardown
}

@test "the order of things" {
	local many='i=0; while [ $i -lt 20 ]; do sleep 5 & i=$((i + 1)); done 2>/dev/null; echo reached'

	refused '*does not exist*' state one
	refused '*does not exist*' start one
	refused '*does not exist*' kill one TERM
	refused '*does not exist*' delete one
	oci delete --force one
	[ "$status" = 0 ]
	oci create --bundle "$BUNDLE" --pid-file "$BATS_TEST_TMPDIR/pid" one
	[ "$status" = 0 ]
	oci state one
	[[ $output == *'"status":"created"'*"\"pid\":$(<"$BATS_TEST_TMPDIR/pid"),"* ]]
	refused '*already exists*' create --bundle "$BUNDLE" one
	oci start one
	[ "$status" = 0 ]
	refused '*running*' start one
	refused '*running*' delete one
	oci exec one sh -c 'echo in; exit 4'
	[ "$status" = 4 ] && [ "$output" = in ]
	oci list --format json
	[[ $output == '['*'"status":"running"'*']' ]]
	oci ps --format json one
	[ "$status" = 0 ] && [[ $output == '['*']' ]]
	oci update --pids-limit 7 one
	[ "$status" = 0 ]
	oci exec one sh -c "$many"
	[[ $output != *reached* ]]
	oci update --pids-limit -1 one
	oci exec one sh -c "$many"
	[ "$output" = reached ]
	refused '*signal*' kill one NOSUCH
	oci kill one SIGKILL
	[ "$status" = 0 ]
	wait_until eval 'oci state one | grep -q stopped'
	refused '*stopped*' start one
	refused '*stopped*' exec one true
	refused '*not running*' kill one TERM
	oci delete one
	[ "$status" = 0 ]
}

@test "bad bundles, names, files" {
	local id empty=$BATS_TEST_TMPDIR/empty size

	mkdir "$empty"
	refused '*No such file*' create --bundle /nonexistent x
	refused '*config.json*' create --bundle "$empty" x
	size=$(stat -c %s "$BUNDLE/config.json")
	for ((i = 0; i < size - 2; i += 97)); do
		head -c "$i" "$BUNDLE/config.json" >"$empty/config.json"
		refused '*config.json*' create --bundle "$empty" x
	done
	for id in '' . .. a/b ../x "$(printf '%01200d' 0)"; do
		refused '*container id*' create --bundle "$BUNDLE" "$id"
	done
	refused '*pid-file*' create --bundle "$BUNDLE" --pid-file /nonexistent/pid x
	refused '*console-socket*' create --bundle "$BUNDLE" --console-socket /nonexistent/s x
	TERMINAL=true write_config sh
	refused '*console-socket*' create --bundle "$BUNDLE" x
	refused '*console-socket*' create --bundle "$BUNDLE" --console-socket /nonexistent/s x
	write_config nosuch
	refused '*executable file not found*' create --bundle "$BUNDLE" x
	write_config /etc
	refused '*permission denied*' create --bundle "$BUNDLE" x
	write_config sh
	mv "$BUNDLE/rootfs" "$BUNDLE/gone"
	refused '*rootfs*' create --bundle "$BUNDLE" x
	[ -z "$(ls -A "$OCI_ROOT")" ]
}

@test "killed at any time: what is left can be deleted" {
	local delay create

	for delay in 0.005 0.02 0.05 0.1 0.2 0.5; do
		"$RUNTIME" --root "$OCI_ROOT" create --bundle "$BUNDLE" x </dev/null 3>&- &
		create=$!
		sleep "$delay"
		kill -9 "$create" 2>/dev/null || true
		wait "$create" || true
		oci delete --force x
		[ "$status" = 0 ]
		wait_until nothing_left
	done
	oci create --bundle "$BUNDLE" --pid-file "$BATS_TEST_TMPDIR/pid" x
	oci start x
	kill -9 "$(<"$BATS_TEST_TMPDIR/pid")"
	wait_until eval 'oci state x | grep -q stopped'
	oci delete x
	[ "$status" = 0 ]
}
