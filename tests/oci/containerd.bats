# containerd with ctr: the shim's calls, each answered as it expects.
# lab: memory=4G timeout=600
# shellcheck shell=bash disable=SC2154

load podman

SOCKET=$POD/containerd.sock

# Prints the first program that there is not.
missing() {
	local program

	for program in containerd ctr containerd-shim-runc-v2; do
		command -v "$program" >/dev/null || { echo "$program" && return; }
	done
}

setup() {
	[ -z "$(missing)" ] || skip "$(missing) is not installed (Debian: containerd, 100 MB)"
}

setup_file() {
	[ -z "$(missing)" ] || return 0
	podman_file
	cat >"$POD/containerd.toml" <<-END
		version = 2
		root = "$POD/containerd"
		state = "$POD/containerd-state"
		disabled_plugins = [ "io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt",
			"io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
			"io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs" ]
		[grpc]
		address = "$SOCKET"
	END
	containerd --config "$POD/containerd.toml" >"$POD/containerd.log" 2>&1 3>&- &
	echo $! >"$POD/containerd.pid"
	wait_until ctr --address "$SOCKET" version >/dev/null 2>&1
	pod save -q --format docker-archive -o "$POD/tmp/bb.tar" bb
	ctr_ image import "$POD/tmp/bb.tar" >/dev/null
}

teardown_file() {
	if [ -e "$POD/containerd.pid" ]; then
		end_containerd
		end_file
	fi
}

end_containerd() {
	local id

	for id in $(ctr_ task ls -q); do
		ctr_ task rm -f "$id" >/dev/null 2>&1 || true
	done
	for id in $(ctr_ container ls -q); do
		ctr_ container rm "$id" >/dev/null 2>&1 || true
	done
	wait_until nothing_left
	kill "$(<"$POD/containerd.pid")"
}

ctr_() {
	timeout -k 5 "${LIMIT:-90}" ctr --address "$SOCKET" "$@" 3>&-
}

# run_ctr WORDS...: sets status, output, errors.
run_ctr() {
	status=0
	output=$(ctr_ "$@" 2>"$BATS_TEST_TMPDIR/errors") || status=$?
	errors=$(<"$BATS_TEST_TMPDIR/errors")
	printf '%s\n' "status $status" "$output" "$errors" | head -c 4000
}

# start_one OPTIONS... ID WORDS...: ctr run with our runtime.
start_one() {
	local notes=(--annotation "microvm.kernel=$KERNEL_SMALL")

	[ -n "$KERNEL_SMALL" ] || notes=(--annotation "microvm.kernel=$KERNEL_6_1"
		--annotation "microvm.modules=$MODULES_6_1")
	run_ctr run --runc-binary "$RUNTIME" "${notes[@]}" "$@"
}

# runtime WORDS...: as the shim calls it; what it says is on one stream.
runtime() {
	"$RUNTIME" --root /run/containerd/runc/default --log "$BATS_TEST_TMPDIR/log" --log-format json "$@" 2>&1
}

image=localhost/bb:latest

@test "run: output, status, environment, a volume, a read-only root" {
	mkdir -p "$POD/tmp/dir"
	echo word >"$POD/tmp/dir/file"
	start_one --rm --env A=b --mount "type=bind,src=$POD/tmp/dir,dst=/mnt,options=rbind:ro" --read-only \
		"$image" one sh -c 'echo "$A $(cat /mnt/file)"; touch /x 2>/dev/null || echo "no root"; exit 7'
	[ "$status" = 7 ]
	[ "$output" = $'b word\nno root' ]
	start_one --rm "$image" two nosuch
	[ "$status" != 0 ]
	[[ $errors == *'executable file not found'* ]]
}

@test "a task: exec, ps, metrics, pause, update, kill, delete; checkpoint is refused by name" {
	start_one -d "$image" box sleep 10000
	[ "$status" = 0 ]
	run_ctr task ls
	[[ $output == *box*RUNNING* ]]
	run_ctr task exec --exec-id x box sh -c 'echo in; exit 5'
	[ "$status" = 5 ] && [ "$output" = in ]
	run_ctr task ps box
	[ "$status" = 0 ] && [[ $output == *PID* ]]
	run_ctr task metrics box
	[[ $output == *memory* ]]
	run_ctr task pause box
	[ "$status" = 0 ]
	run_ctr task ls
	[[ $output == *box*PAUSED* ]]
	run_ctr task resume box
	[ "$status" = 0 ]
	[[ $(runtime state box) == '{'*'"running"'*'}' ]]
	[[ $(runtime ps --format json box) == '['[0-9]*']' ]]
	echo '{"cpu": {"shares": 512, "quota": 50000, "period": 100000}}' | runtime update --resources=- box
	[[ $(cat /sys/fs/cgroup/default/box/cpu.max) == '50000 100000' ]]
	[[ $(runtime events --stats box) == '{'*'"type":"stats"'*'}' ]]
	run_ctr task checkpoint box
	[ "$status" != 0 ]
	[[ $errors == *'not checkpointed'* ]]
	run_ctr task kill -a -s SIGKILL box
	[ "$status" = 0 ]
	wait_until eval 'ctr_ task ls | grep -q STOPPED'
	run_ctr task rm box
	run_ctr container rm box
	[ "$status" = 0 ]
}
