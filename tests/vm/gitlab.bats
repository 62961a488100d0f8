#!/usr/bin/env bats
# lab: memory=3G timeout=900
# The scripts in contrib/gitlab, called as GitLab Runner calls them.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154 # the guest expands it; tests are subshells

setup() {
	load job
	job_setup
	export MICROVM_CI_STATE=$SCRATCH/ci BUILD_FAILURE_EXIT_CODE=31 SYSTEM_FAILURE_EXIT_CODE=32
	export MICROVM_CI_OPTIONS="--memory 256M --timeout 10m ${mod[*]}"
	mkdir -p "$MICROVM_CI_STATE/roots"
	ln -sfn "$TREE" "$MICROVM_CI_STATE/roots/default"
	ln -sfn "$TREE" "$MICROVM_CI_STATE/roots/other"
}

setup_file() {
	load job
	BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR job_setup
	remember
}

teardown() {
	for name in $("$MICROVM" ps -q); do
		"$MICROVM" kill -s KILL "$name"
	done
}

# runner JOB PROJECT [IMAGE]: what the runner tells its scripts from here on.
runner() {
	export JOB_RESPONSE_FILE=$PWD/response BUILD_EXIT_CODE_FILE=$PWD/code-${1//[^0-9]/_}
	cat >"$JOB_RESPONSE_FILE" <<-END
		{ "id": $1, "token": "t", "job_info": { "project_id": $2, "name": "test" }, "image": { "name": "${3:-}" } }
	END
	export CUSTOM_ENV_CI_JOB_ID=666 CUSTOM_ENV_CI_PROJECT_ID=666 # a job may say so
}

# does SCRIPT [ARGUMENT...]: one of the four, in a process group of its own as the runner has it.
does() {
	status=0
	setsid -w timeout 60 "$REPO/contrib/gitlab/$1" "${@:2}" </dev/null >"$out" 2>"$log" 3>&- || status=$?
	output=$(<"$out")
	show
}

# stage NAME TEXT: run_exec with a script of that text.
stage() {
	printf '%s\n' "$2" >"script-$1"
	does run "$PWD/script-$1" "$1"
}

@test "a job from config to cleanup; artifacts and the cache" {
	runner 101 7
	does config
	[ "$status" = 0 ]
	[ "$(jq -r .builds_dir,.cache_dir,.builds_dir_is_shared,.driver.name "$out" | tr '\n' ' ')" = '/builds /cache false microvm ' ]
	does prepare
	[ "$status" = 0 ]
	[ "$("$MICROVM" ps -q)" = gitlab-job-101 ]
	stage get_sources 'set -e; mkdir -p /builds/group/project; cd /builds/group/project; echo "echo built >artifact" >make.sh'
	[ "$status" = 0 ]
	stage step_script 'cd /builds/group/project; sh make.sh; echo words; echo errors >&2; cat; echo cached >/cache/file; echo state >/etc/state'
	[ "$status" = 0 ]
	[ "$output" = words ]
	[ "$(<"$log")" = errors ]
	[ "$(<"$MICROVM_CI_STATE/jobs/101/builds/group/project/artifact")" = built ]
	stage after_script 'cat /etc/state' # the machine is the same through all stages
	[ "$output" = state ]
	[ ! -e "$BUILD_EXIT_CODE_FILE" ]
	does cleanup
	[ "$status" = 0 ]
	[ ! -e "$MICROVM_CI_STATE/jobs/101" ]
	[ "$(<"$MICROVM_CI_STATE/cache/7/file")" = cached ]
	nothing_left
}

@test "the next job finds its project's cache, another's does not; two at once" {
	runner 102 7 other
	does prepare
	[ "$status" = 0 ]
	stage step_script 'cat /cache/file || echo none; test ! -e /etc/state && echo fresh'
	[ "$output" = $'cached\nfresh' ]
	runner 103 8
	does prepare
	[ "$status" = 0 ]
	stage step_script 'cat /cache/file 2>/dev/null || echo none; ls /builds'
	[ "$output" = none ]
	[ "$("$MICROVM" ps -q | wc -l)" = 2 ]
	does cleanup
	[ "$("$MICROVM" ps -q)" = gitlab-job-102 ]
	runner 102 7
	does cleanup
	nothing_left
}

@test "a failure of the job, with its status; a failure of the system" {
	runner 104 9
	does prepare
	stage step_script 'echo before; exit 3; echo after'
	[ "$status" = 31 ]
	[ "$output" = before ]
	[ "$(<"$BUILD_EXIT_CODE_FILE")" = 3 ]
	stage step_script 'kill -9 $$'
	[ "$status" = 31 ]
	[ "$(<"$BUILD_EXIT_CODE_FILE")" = 137 ]
	stage step_script 'exit 125'
	[ "$status" = 31 ]
	does prepare # again, as the runner does after a failure of it
	[ "$status" = 0 ]
	stage step_script 'echo c >/proc/sysrq-trigger; sleep 100'
	[ "$status" = 32 ]
	grep -q 'the machine has ended.*' "$log"
	stage after_script true
	[ "$status" = 32 ]
	does cleanup
	[ "$status" = 0 ]
	runner 105 9 '../../etc'
	does prepare
	[ "$status" = 32 ]
	grep -q "is not the name of a root" "$log"
	runner 105 9 nosuch
	does prepare
	[ "$status" = 32 ]
	runner '"1/../2"' 9
	does prepare
	[ "$status" = 32 ]
	runner 106 9
	MICROVM_CI_OPTIONS='--memory nonsense' does prepare
	[ "$status" = 32 ]
	grep -q 'the machine did not start.*--memory' "$log"
	does cleanup
	[ "$status" = 0 ]
	nothing_left
}

@test "a job that is cancelled: the runner's SIGTERM reaches the script" {
	runner 107 9
	does prepare
	echo 'trap "echo cancelled; exit 1" TERM; echo begun; while :; do sleep 0.1; done' >script
	set -m # a process group of its own
	"$REPO/contrib/gitlab/run" "$PWD/script" step_script </dev/null >o 2>&1 3>&- &
	pid=$!
	set +m
	await 30 grep -q begun o
	kill -TERM -- "-$pid"
	status=0
	wait "$pid" || status=$?
	cat o
	grep -q cancelled o
	[ "$status" = 31 ]
	does cleanup
	nothing_left
}
