# Loaded by the bats files beside it: containers of podman's, each in a machine of its own.
# shellcheck shell=bash disable=SC2034,SC2154 # status, output: the tests; SCRATCH and so on: tests/run

POD=$SCRATCH/podman # all of podman's own: images, containers, volumes, networks
RUNTIME=$REPO/build/oci/microvm-oci
OCI_ROOT=$POD/oci # where the tests that use the runtime by itself keep its state
export CONTAINERS_CONF=$POD/containers.conf TMPDIR=$POD/tmp

# podman_file: for setup_file. Everything that podman needs, and the image "bb", a busybox.
podman_file() {
	local program

	for program in podman conmon crun; do
		command -v "$program" >/dev/null || skip "$program is not installed"
	done
	[ "$(id -u)" = 0 ] || skip "needs root"
	mkdir -p "$POD/tmp" "$POD/networks"
	write_containers_conf
	make_image
	pod network ls >/dev/null
	cat /proc/mounts >"$BATS_FILE_TMPDIR/mounts"
}

# The machine's kernel, and where podman finds us: what an administrator would write there.
write_containers_conf() {
	local kernel=$KERNEL_SMALL notes

	notes="\"microvm.kernel=$kernel\""
	[ -n "$kernel" ] || notes="\"microvm.kernel=$KERNEL_6_1\", \"microvm.modules=$MODULES_6_1\""
	cat >"$CONTAINERS_CONF" <<END
[containers]
annotations = [ $notes ]
log_driver = "k8s-file"
[network]
network_backend = "netavark"
network_config_dir = "$POD/networks"
[engine]
runtime = "microvm-oci"
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime_supports_json = [ "microvm-oci", "crun" ]
runtime_supports_kvm = [ "microvm-oci" ]
[engine.runtimes]
microvm-oci = [ "$RUNTIME" ]
END
}

make_image() {
	local tree=$POD/tree

	mkdir -p "$tree"/{usr/bin,bin,etc,proc,sys,dev,run,root,tmp,home/alice,var/data}
	chmod 1777 "$tree/tmp"
	cp /usr/bin/busybox "$tree/usr/bin/"
	busybox --install -s "$tree/bin"
	printf '%s\n' root:x:0:0:root:/root:/bin/sh alice:x:1000:1000:Alice:/home/alice:/bin/sh \
		>"$tree/etc/passwd"
	printf '%s\n' root:x:0: wheel:x:10: users:x:100:alice alice:x:1000: >"$tree/etc/group"
	chown 1000:1000 "$tree/home/alice"
	echo below >"$tree/var/data/file"
	ln -s file "$tree/var/data/link"
	echo 'no program' >"$tree/etc/text"
	printf '%s\n' '#!/bin/sh' 'while :; do sleep 1; done' >"$tree/pause"
	chmod 755 "$tree/pause"
	tar -C "$tree" -c . | pod import -q - bb >/dev/null
}

# pod WORDS...: podman, with all its things in POD.
pod() {
	timeout -k 5 "${LIMIT:-90}" podman --root "$POD/root" --runroot "$POD/run" \
		--storage-driver overlay "$@" 3>&-
}

# run_pod WORDS...: the same; sets status, output, and errors to what came on standard error.
run_pod() {
	status=0
	output=$(pod "$@" 2>"$BATS_TEST_TMPDIR/errors") || status=$?
	errors=$(<"$BATS_TEST_TMPDIR/errors")
	printf '%s\n' "status $status" "$output" "$errors" | head -c 4000
}

# once WORDS...: a container without a network, to its end and gone.
once() {
	run_pod run --rm --network none "$@"
}

# wait_until COMMAND...: true in time.
wait_until() {
	local end=$((SECONDS + ${LIMIT:-60}))

	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.2
	done
}

# Nothing of any container is left on this host: for teardown_file, behind `pod rm -af`.
nothing_left() {
	local left

	left=$(pgrep -ax microvm-oci || true)
	[ -z "$left" ] || { echo "process: $left"; return 1; }
	left=$(find /run/microvm-oci "$OCI_ROOT" -mindepth 1 ! -name '.*' 2>/dev/null || true)
	[ -z "$left" ] || { echo "state: $left"; return 1; }
	left=$(find /sys/fs/cgroup -name 'libpod-*' ! -name '*conmon*' -o -name 'microvm-*' | head)
	[ -z "$left" ] || { echo "cgroup: $left"; return 1; }
}

# end_file: for teardown_file.
end_file() {
	[ -e "$CONTAINERS_CONF" ] || return 0
	pod rm -af -t 0 >/dev/null 2>&1 || true
	wait_until nothing_left
}
