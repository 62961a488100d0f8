#!/usr/bin/env bats
# lab: memory=3G timeout=900
# A root from an image in podman's storage: --image.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154 # the guest expands it; tests are subshells

# A storage of our own, in memory.
podman_env() {
	export CONTAINERS_STORAGE_CONF=$BATS_FILE_TMPDIR/storage.conf CONTAINERS_CONF=$BATS_FILE_TMPDIR/containers.conf
	export TMPDIR=$BATS_FILE_TMPDIR/store
}

setup_file() {
	command -v podman >/dev/null || skip "podman is not installed"
	load job
	BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR job_setup
	podman_env
	mkdir "$TMPDIR"
	mount -t tmpfs tmpfs "$TMPDIR"
	cat >"$CONTAINERS_STORAGE_CONF" <<-END
		[storage]
		driver = "overlay"
		graphroot = "$TMPDIR/graph"
		runroot = "$TMPDIR/run"
	END
	printf '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n' >"$CONTAINERS_CONF"
	tar -C "$TREE" -c . | podman import -q --change 'ENTRYPOINT ["/bin/sh", "-c"]' --change 'CMD ["echo own; id -un; pwd; echo $A"]' \
		--change 'ENV A=image' --change 'ENV B=both' --change 'USER alice' --change 'WORKDIR /srv/work' - full:1 >/dev/null
	tar -C "$TREE" -c . | podman import -q - plain:1 >/dev/null
	remember
}

teardown_file() {
	umount "$BATS_FILE_TMPDIR/store" || true
}

setup() {
	load job
	job_setup
	podman_env
}

teardown() {
	stop_leftovers
}

# job_image [OPTION...]: like job, without a root.
job_image() {
	status=0
	timeout -k 5 100 "$MICROVM" run "${mod[@]}" "$@" </dev/null >"$out" 2>"$log" 3>&- || status=$?
	output=$(<"$out")
	show
}

unmounted() {
	nothing_left && ! podman image mount | grep -q .
}

@test "entrypoint, command, environment, user and directory are the image's, where no others are given" {
	job_image --image full:1
	[ "$status" = 0 ]
	[ "$output" = $'own\nalice\n/srv/work\nimage' ]
	quiet
	await 20 unmounted
	job_image --image full:1 -e A=ours -u root -w /tmp -- 'echo $A $B; id -un; pwd; echo x >/made; exit 5'
	[ "$status" = 5 ]
	[ "$output" = $'ours both\nroot\n/tmp' ]
	job_image --image localhost/full:1 -- 'test -e /made; exit $?'
	[ "$status" = 1 ]
}

@test "an image without a command needs one; one that is not there; --keep" {
	job_image --image plain:1
	[ "$status" = 125 ]
	said '--image plain:1: it has no command of its own*'
	job_image --image plain:1 -- sh -c 'id -un; pwd; exit 3'
	[ "$status" = 3 ]
	[ "$output" = $'root\n/' ]
	job_image --image nosuch:1 -- true
	[ "$status" = 125 ]
	[[ $(tail -n 1 "$log") == 'microvm: error: '*nosuch:1* ]]
	job_image --image plain:1 --keep -- true
	[ "$status" = 125 ]
	said '--keep: the image plain:1 is never written to*'
	PATH=/nosuch job_without_podman
	await 20 unmounted
}

job_without_podman() {
	status=0
	"$MICROVM" run --image plain:1 -- true </dev/null >"$out" 2>"$log" 3>&- || status=$?
	PATH=$OLDPATH show
	[ "$status" = 125 ]
	PATH=$OLDPATH said '*cannot run podman*'
}
OLDPATH=$PATH

@test "no mount is left after an end, a signal, kill -9; two at once do not disturb each other" {
	"$MICROVM" run "${mod[@]}" --image plain:1 -- sh -c 'echo ready; sleep 100' </dev/null >o1 2>&1 3>&- &
	first=$!
	await 60 grep -q ready o1
	job_image --image plain:1 -- sh -c 'ls /bin/sh'
	[ "$status" = 0 ]
	sleep 2
	kill -0 "$first"
	podman image mount | grep -q plain
	kill -9 "$first"
	wait "$first" || true
	await 30 unmounted || { job -- true; unmounted; }
	"$MICROVM" run "${mod[@]}" --image plain:1 -- sh -c 'echo ready; sleep 100' </dev/null >o1 2>&1 3>&- &
	first=$!
	await 60 grep -q ready o1
	kill "$first"
	status=0
	wait "$first" || status=$?
	[ "$status" = 143 ]
	job -- true
	await 30 unmounted
}
