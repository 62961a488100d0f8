# Labels of AppArmor: around the machine's process, as any container of podman's has them on Debian.
# lab: memory=3G timeout=600
# shellcheck shell=bash disable=SC2154

load bundle

setup_file() {
	[ -e /sys/kernel/security/apparmor/profiles ] || skip "the host's kernel has no AppArmor"
	command -v apparmor_parser >/dev/null || skip "apparmor_parser is not installed"
	podman_file
}

setup() {
	bundle_setup
}

teardown() {
	pod rm -af -t 0 >/dev/null 2>&1
	bundle_teardown
}

teardown_file() {
	end_file
}

# labels PID: what the threads of the process are labelled, each label once.
labels() {
	sort -u "/proc/$1"/task/*/attr/apparmor/current
}

@test "podman's own profile is around the machine, which works all the same" {
	local pid profile

	run_pod run -d --name web -v "$BATS_TEST_TMPDIR:/given" bb \
		sh -c 'echo out >/given/file; mkdir /www && echo page >/www/index.html; exec httpd -f -h /www'
	[ "$status" = 0 ]
	profile=$(pod inspect -f '{{.AppArmorProfile}}' web)
	[[ $profile == containers-default-* ]]
	pid=$(pod inspect -f '{{.State.Pid}}' web)
	[ "$(labels "$pid")" = "$profile (enforce)" ]
	run_pod exec web sh -c 'echo more >>/given/file; wget -q -O - http://127.0.0.1/; cat /given/file'
	[ "$status" = 0 ] && [ "$output" = $'page\nout\nmore' ]
	run_pod pause web
	[ "$status" = 0 ]
	run_pod unpause web
	[ "$status" = 0 ]
	run_pod run --rm --network container:web bb wget -q -O - http://127.0.0.1/
	[ "$status" = 0 ] && [ "$output" = page ]
	run_pod stop -t 1 web
	[ "$status" = 0 ]
	run_pod rm web
	[ "$status" = 0 ]
	! dmesg | grep 'apparmor="DENIED"'
}

@test "a profile that is not there; one in a root without /proc" {
	local config=$BUNDLE/config.json

	sed -i 's/"process": {/"process": { "apparmorProfile": "nothere",/' "$config"
	refused '*process.apparmorProfile*nothere*' create --bundle "$BUNDLE" x
	[ -z "$(ls -A "$OCI_ROOT")" ] && [ ! -e /sys/fs/cgroup/microvm-test ]
	sed -i 's/"nothere"/"unconfined"/' "$config"
	rmdir "$BUNDLE/rootfs/proc"
	oci create --bundle "$BUNDLE" x
	[ "$status" = 0 ] && [ -z "$errors" ]
	oci delete --force x
	[ "$status" = 0 ]
}
