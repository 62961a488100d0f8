# podman with systemd as its cgroup manager, under a systemd of the test's own: process 1 of a pid
# namespace, with a control group for itself. Not pause: from in there, KVM's thread in the container's
# group cannot be moved out of it.
# lab: memory=4G timeout=400
# shellcheck shell=bash disable=SC2154

load podman

SYSTEMD=/lib/systemd/systemd
GROUP=/sys/fs/cgroup/test-systemd

setup_file() {
	podman_file
	sed -i 's/"cgroupfs"/"systemd"/' "$CONTAINERS_CONF"
}

setup() {
	[ -x "$SYSTEMD" ] || skip "systemd is not installed"
	[ -n "${MICROVM_LAB:-}" ] || skip "takes the place of systemd: in the lab only"
}

teardown_file() {
	end_file
}

# under_systemd TEXT: runs it as the one service that there is; what it says is in output.
under_systemd() {
	local dir=$BATS_TEST_TMPDIR controller

	export -p >"$dir/environment"
	cat >"$dir/service" <<-END
		. $dir/environment
		. $REPO/tests/oci/podman.bash
		exec >$dir/output 2>&1
		$1
	END
	cat >"$dir/test.service" <<-END
		[Unit]
		DefaultDependencies=no
		SuccessAction=exit-force
		FailureAction=exit-force
		[Service]
		Type=oneshot
		ExecStart=/bin/bash $dir/service
		TimeoutStartSec=240
	END
	for controller in cpu memory pids io cpuset; do
		echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
	done
	mkdir -p "$GROUP"
	# Nobody but those below it may be in the group, or it has no controllers for them.
	timeout 280 unshare --mount --pid --fork --kill-child bash -c "echo 0 >$GROUP/cgroup.procs
		exec unshare --cgroup bash -c '
		mount -t proc proc /proc && mount -t tmpfs tmpfs /run && umount -l /sys/fs/cgroup &&
			mount -t cgroup2 cgroup2 /sys/fs/cgroup && mount --make-rshared / &&
			mkdir -p /run/systemd/system && cp $dir/test.service /run/systemd/system/ || exit
		exec env container=test $SYSTEMD --system --unit=test.service --show-status=0 \
			--log-target=kmsg'" 3>&-
	output=$(tr -d "\0" <"$dir/output")
	echo "$output"
}

@test "a scope of systemd's: limits, exec, stop, start, nothing left" {
	under_systemd '
		pod run -d --name s --network none --memory 256m --cpus 0.5 bb sleep 1000 >/dev/null
		id=$(pod inspect -f "{{.Id}}" s)
		group=$(sed s/0::// "/proc/$(pod inspect -f "{{.State.Pid}}" s)/cgroup")
		echo "group ${group/$id/ID}"
		cat "/sys/fs/cgroup$group/memory.max" "/sys/fs/cgroup$group/cpu.max"
		echo "scope $(systemctl is-active "libpod-$id.scope")"
		pod exec s echo in
		pod stop -t 0 s >/dev/null 2>&1
		echo "scope $(systemctl is-active "libpod-$id.scope")"
		pod start s >/dev/null; pod inspect -f "{{.State.Status}}" s
		pod rm -f -t 0 s >/dev/null
		nothing_left && find /sys/fs/cgroup -name "libpod-$id*"'
	[ "$output" = 'group /machine.slice/libpod-ID.scope/container
339738624
50000 100000
scope active
in
scope inactive
running' ]
}
