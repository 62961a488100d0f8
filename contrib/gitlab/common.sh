# Sourced by the four scripts beside it: where things are, and which job this is.
# shellcheck shell=bash
#
# Settings are variables of gitlab-runner's environment, or of /etc/microvm/gitlab.conf:
#   MICROVM            the program (default: microvm)
#   MICROVM_CI_STATE   folder for jobs, caches and roots (default: /var/lib/microvm-ci)
#   MICROVM_CI_ROOT    the root of jobs that name no image, a folder below STATE/roots
#                      (default: default)
#   MICROVM_CI_OPTIONS more options for `microvm run`, separated by spaces (default:
#                      --cpus 2 --memory 2G --net user --timeout 2h)

if [ -r /etc/microvm/gitlab.conf ]; then
	. /etc/microvm/gitlab.conf
fi
MICROVM=${MICROVM:-microvm}
MICROVM_CI_STATE=${MICROVM_CI_STATE:-/var/lib/microvm-ci}
MICROVM_CI_ROOT=${MICROVM_CI_ROOT:-default}
MICROVM_CI_OPTIONS=${MICROVM_CI_OPTIONS:---cpus 2 --memory 2G --net user --timeout 2h}

# What failed is not the job's own doing: the runner may try again.
system_failure() {
	echo "microvm executor: $*" >&2
	exit "${SYSTEM_FAILURE_EXIT_CODE:-2}"
}

# asked JQ-PATH: what the server said of the job. Never CUSTOM_ENV_*: a job can set those as it likes.
asked() {
	jq -r "$1 // empty" "${JOB_RESPONSE_FILE:?not run by gitlab-runner}"
}

# number JQ-PATH: the same, which must be one.
number() {
	local value

	value=$(asked "$1")
	[[ $value =~ ^[0-9]+$ ]] || system_failure "the job's $1 is '$value', not a number"
	echo "$value"
}

job=$(number .id) || exit
project=$(number .job_info.project_id) || exit
# shellcheck disable=SC2034 # for those who source this
{
	name=gitlab-job-$job
	folder=$MICROVM_CI_STATE/jobs/$job
	cache=$MICROVM_CI_STATE/cache/$project
}

# Does the job's machine run?
alive() {
	"$MICROVM" ps -q | grep -qxF "$name"
}

# end_machine: SIGTERM, and KILL to one that does not go.
end_machine() {
	local i

	alive || return 0
	"$MICROVM" kill "$name" || true
	for ((i = 0; i < 100; i++)); do
		alive || return 0
		sleep 0.2
	done
	"$MICROVM" kill -s KILL "$name" || true
}
