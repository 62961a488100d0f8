# Loaded by the bats files beside it: the runtime by itself, with a bundle made by hand.
# shellcheck shell=bash disable=SC2034,SC2154

load podman

BUNDLE=$BATS_TEST_TMPDIR/bundle

bundle_setup() {
	[ "$(id -u)" = 0 ] || skip "needs root"
	[ -e /sys/fs/cgroup/cgroup.controllers ] || skip "needs cgroup2"
	mkdir -p "$BUNDLE"/rootfs/{usr/bin,bin,proc,sys,dev,tmp,etc} "$OCI_ROOT"
	cp /usr/bin/busybox "$BUNDLE/rootfs/usr/bin/"
	busybox --install -s "$BUNDLE/rootfs/bin"
	write_config sleep 1000
	mounts >"$BATS_TEST_TMPDIR/mounts"
}

# The host's mounts, without those of `ip netns`, and without the one that podman puts on its own
# storage whenever a command of its, or the clean-up behind a container, needs it.
mounts() {
	grep -v -e ' /run/netns' -e "^[^ ]* $SCRATCH/podman/root/overlay " /proc/mounts
}

bundle_teardown() {
	local id

	for id in $("$RUNTIME" --root "$OCI_ROOT" list --quiet 2>/dev/null); do
		"$RUNTIME" --root "$OCI_ROOT" delete --force "$id"
	done
	wait_until nothing_left
	mounts | diff "$BATS_TEST_TMPDIR/mounts" -
}

# write_config ARGS...: a config.json that runs ARGS. MORE: more of its sections, and NETNS the path
# of its network namespace.
write_config() {
	local kernel="\"microvm.kernel\": \"$KERNEL_SMALL\"" args

	[ -n "$KERNEL_SMALL" ] ||
		kernel="\"microvm.kernel\": \"$KERNEL_6_1\", \"microvm.modules\": \"$MODULES_6_1\""
	args=$(printf '"%s", ' "$@")
	cat >"$BUNDLE/config.json" <<END
{ "ociVersion": "1.0.2", "annotations": { $kernel },
  "root": { "path": "rootfs" }, "hostname": "box", ${MORE:-}
  "process": { "terminal": ${TERMINAL:-false}, "user": { "uid": 0, "gid": 0 }, "cwd": "/",
    "args": [ ${args%, } ], "env": [ "PATH=/bin:/usr/bin" ] },
  "mounts": [ { "destination": "/proc", "type": "proc", "source": "proc" } ${MOUNTS:-} ],
  "linux": { "cgroupsPath": "/microvm-test", "namespaces": [ { "type": "pid" }, { "type": "ipc" }, { "type": "uts" },
    { "type": "mount" }, { "type": "network" ${NETNS:+, \"path\": \"$NETNS\"} } ] } }
END
}

# oci WORDS...: the runtime; sets status, output, errors.
oci() {
	status=0
	timeout -k 5 60 "$RUNTIME" --root "$OCI_ROOT" "$@" >"$BATS_TEST_TMPDIR/out" \
		2>"$BATS_TEST_TMPDIR/errors" </dev/null 3>&- || status=$?
	output=$(<"$BATS_TEST_TMPDIR/out") errors=$(<"$BATS_TEST_TMPDIR/errors")
	printf '%s\n' "status $status" "$output" "$errors"
}

# refused PATTERN WORDS...: fails, with one line of error like it.
refused() {
	local pattern=$1

	shift
	oci "$@"
	[ "$status" != 0 ] && [ "$(wc -l <"$BATS_TEST_TMPDIR/errors")" = 1 ]
	# shellcheck disable=SC2053 # a pattern
	[[ $errors == $pattern ]]
}
