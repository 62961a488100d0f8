# Loaded by job*.bats beside it: commands in machines of their own.
# shellcheck shell=bash disable=SC2034,SC2154 # log, vm, output: guest.bash and the tests

load guest

TREE=$SCRATCH/tree # the root that jobs get, where nothing else is said: a directory of busybox
out=$BATS_TEST_TMPDIR/out

# make_tree FOLDER: busybox with two users; what a shell needs, and nothing that takes time to copy.
make_tree() {
	mkdir -p "$1"/{usr/bin,bin,sbin,etc,proc,sys,dev,run,root,home/alice} "$1/tmp"
	chmod 1777 "$1/tmp"
	cp /usr/bin/busybox "$1/usr/bin/"
	busybox --install -s "$1/bin"
	printf '%s\n' root:x:0:0:root:/root:/bin/sh alice:x:1000:1000:Alice:/home/alice:/bin/sh \
		nobody:x:65534:65534:nobody:/nonexistent:/bin/false \
		>"$1/etc/passwd"
	printf '%s\n' root:x:0: wheel:x:10: users:x:100:alice alice:x:1000: >"$1/etc/group"
	chown 1000:1000 "$1/home/alice"
}

# Any kernel will do for most of what a job does.
job_setup() {
	cd "$BATS_TEST_TMPDIR" || return
	[ -e "$TREE" ] || make_tree "$TREE"
	quick_kernel
	export MICROVM_KERNEL=$KERNEL
	mod=()
	[ -z "$MODULES" ] || mod=(--modules "$MODULES")
}

# job [OPTION...] -- CMD: runs it to its end. Sets status, output to what it wrote on standard output;
# what came on standard error is in the file $log. ROOT takes the place of the usual root.
job() {
	status=0
	timeout -k 5 "${LIMIT:-100}" "$MICROVM" run "${mod[@]}" --rootfs "${ROOT:-$TREE}" "$@" \
		<"${INPUT:-/dev/null}" >"$out" 2>"$log" 3>&- || status=$?
	output=$(tr -d '\0' <"$out")
	show
}

# start_job: the same in the background; vm is its process. end_guest (guest.bash) waits for it.
start_job() {
	: >"$out"
	"$MICROVM" run "${mod[@]}" --rootfs "${ROOT:-$TREE}" "$@" </dev/null >"$out" 2>"$log" 3>&- &
	vm=$!
}

# exec_in NAME WORDS...: microvm exec to its end; sets the same.
exec_in() {
	status=0
	timeout -k 5 30 "$MICROVM" exec "$@" <"${INPUT:-/dev/null}" >"$out" 2>"$log" 3>&- || status=$?
	output=$(tr -d '\0' <"$out")
	show
}

# said PATTERN: one line on standard error, an error of microvm's own, matching the pattern.
said() {
	local line

	[ "$(wc -l <"$log")" = 1 ]
	line=$(<"$log")
	# shellcheck disable=SC2053 # a pattern, indeed
	[[ $line == 'microvm: error: '$1 ]] || {
		echo "not like: $1"
		return 1
	}
}

# quiet: nothing on standard error.
quiet() {
	[ ! -s "$log" ]
}

# Nothing of any machine is left on this host.
nothing_left() {
	local left

	left=$(pgrep -lx microvm || true)
	[ -z "$left" ] || { echo "process: $left"; return 1; }
	left=$(find /run/microvm -mindepth 1 ! -name .lock)
	[ -z "$left" ] || { echo "in /run/microvm: $left"; return 1; }
	diff "$BATS_FILE_TMPDIR/mounts" /proc/mounts
	left=$(comm -13 "$BATS_FILE_TMPDIR/temporary" <(temporary))
	[ -z "$left" ] || { echo "in a temporary folder: $left"; return 1; }
}

# What has our name; other things may come and go there, those of unit tests (microvm-X.YYYYYY) too,
# since a lab sees its machine's files.
temporary() {
	{
		find /tmp /var/tmp /dev/shm -xdev -maxdepth 1 \( -name '*microvm*' -o -name '*vm-*' \) ! -name '*.??????'
		find ~/.cache/microvm -name '.*' ! -name .lock
	} | sort
}

# What nothing_left compares with; once for a file, after a first job has made what is cached.
remember() {
	"$MICROVM" run "${mod[@]}" --rootfs "$TREE" -- true </dev/null 3>&-
	cat /proc/mounts >"$BATS_FILE_TMPDIR/mounts"
	temporary >"$BATS_FILE_TMPDIR/temporary"
}
