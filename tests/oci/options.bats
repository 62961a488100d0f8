# The options of podman run: who the process is, what it may, what it sees.
# lab: memory=4G timeout=900
# shellcheck shell=bash disable=SC2154

load podman

setup_file() {
	podman_file
}

teardown_file() {
	end_file
}

# has LINE...: each is a line of the output.
has() {
	local line

	for line; do
		grep -qxF -- "$line" <<<"$output" || { echo "missing: $line"; return 1; }
	done
}

@test "user, groups, capabilities, environment, folder, entry point, names, limits" {
	once --user alice --group-add 77 --cap-add NET_ADMIN --cap-drop CHOWN --env A=b --workdir /var/data \
		--entrypoint '["sh", "-c"]' --hostname box --ulimit nofile=333:444 --oom-score-adj 321 \
		--security-opt no-new-privileges --sysctl kernel.msgmax=9999 --umask 027 bb '
		id; echo "process $$"; echo "A=$A $PWD $(hostname) $(ulimit -n) $(ulimit -Hn) $(cat /proc/self/oom_score_adj)"
		cat /proc/sys/kernel/msgmax; umask
		grep -E "^(NoNewPrivs|Seccomp|CapEff|CapBnd):" /proc/self/status'
	[ "$status" = 0 ]
	has 'uid=1000(alice) gid=1000(alice) groups=77,100(users),1000(alice)' ||
		grep -q 'uid=1000(alice) gid=1000(alice) .*77' <<<"$output"
	has 'process 1' 'A=b /var/data box 333 444 321' 9999 0027 $'NoNewPrivs:\t1' $'Seccomp:\t2' \
		$'CapEff:\t0000000000001000'
	once --user 4321:99 --ipc none bb sh -c 'id; ls /dev/shm /dev/pts/ptmx'
	[[ $output == 'uid=4321'*'gid=99'*/dev/pts/ptmx* ]]
	[[ $errors == *'/dev/shm: No such file'* ]]
}

@test "root has the usual capabilities, a filter that blocks, and can be without; what is masked is" {
	local facts

	facts='grep -E "^(CapEff|Seccomp|NoNewPrivs):" /proc/self/status
		mkdir /made 2>/dev/null && echo made
		cat /proc/kcore 2>/dev/null | head -c 1 | wc -c
		touch /proc/sys/kernel/x 2>/dev/null; echo 1 >/proc/sys/kernel/panic && echo wrote
		ls /dev | tr "\n" " "; test -c /dev/null && test -w /dev/shm && echo dev'
	once bb sh -c "$facts"
	has $'CapEff:\t00000000800405fb' $'Seccomp:\t2' $'NoNewPrivs:\t0' 0 ||
		has $'CapEff:\t00000000a80425fb' $'Seccomp:\t2' $'NoNewPrivs:\t0' 0
	has made
	[ "$(grep -cx wrote <<<"$output")" = 0 ]
	echo '{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [ { "names": [ "mkdir", "mkdirat" ],
		"action": "SCMP_ACT_ERRNO", "errnoRet": 1 } ] }' >"$BATS_TEST_TMPDIR/filter.json"
	once --security-opt "seccomp=$BATS_TEST_TMPDIR/filter.json" bb sh -c "$facts"
	has $'Seccomp:\t2'
	[ "$(grep -cx made <<<"$output")" = 0 ]
	once --security-opt seccomp=unconfined bb sh -c "$facts"
	has $'Seccomp:\t0' made
	once --privileged bb sh -c "$facts; mount -t tmpfs x /tmp && echo mounted"
	has $'Seccomp:\t0' wrote mounted
	once --privileged --systemd=always bb sh -c 'ls /dev/tty*' # for an init of its own
	[ "$output" = /dev/tty ]
}

@test "memory, processors, processes" {
	once --memory 256m --cpus 1.5 --pids-limit 20 bb sh -c '
		nproc; grep MemTotal /proc/meminfo; cat /proc/self/cgroup
		i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i + 1)); done 2>/dev/null; echo not reached'
	grep -qx "$(($(nproc) < 2 ? 1 : 2))" <<<"$output"
	[ "$(sed -n 's/MemTotal: *\([0-9]*\) kB/\1/p' <<<"$output")" -gt 180000 ]
	[ "$(sed -n 's/MemTotal: *\([0-9]*\) kB/\1/p' <<<"$output")" -lt 262144 ]
	has 0::/
	[ "$status" != 0 ]
	[[ $output != *'not reached'* ]]
}

@test "volumes: folders and files, read-only and not, copied up; tmpfs; a read-only root; shm; secrets" {
	mkdir -p "$POD/tmp/dir"
	echo one >"$POD/tmp/dir/a"
	echo two >"$POD/tmp/single"
	printf secret | pod secret create word - >/dev/null
	once --read-only -v "$POD/tmp/dir:/rw" -v "$POD/tmp/dir:/ro:ro" -v "$POD/tmp/single:/etc/single" \
		-v named:/var/data --tmpfs /home --mount type=tmpfs,destination=/mnt2,tmpfs-size=1m \
		--shm-size 5m --secret word --init bb sh -c '
		cat /rw/a /etc/single; echo new >/rw/new; echo changed >/etc/single
		touch /ro/x 2>/dev/null || echo "no ro"; touch /x 2>/dev/null || echo "no root"
		cat /var/data/file /var/data/link; echo more >/var/data/more
		ls -ld /home/alice | cut -d" " -f1; stat -c %u /home/alice; touch /home/y /tmp/z && echo tmpfs
		df -k /mnt2 /dev/shm | awk "NR > 1 { print \$2 }"; cat /run/secrets/word; echo
		cat /proc/1/comm; wc -c </etc/resolv.conf; grep -c localhost /etc/hosts'
	[ "$status" = 0 ]
	has one two 'no ro' 'no root' below drwxr-xr-x 1000 tmpfs 1024 5120 secret
	[ "$(cat "$POD/tmp/dir/new" "$POD/tmp/single")" = $'new\nchanged' ]
	once -v named:/v bb sh -c 'cat /v/more; echo true >/v/script; chmod +x /v/script'
	[ "$output" = more ]
	once -v named:/v:noexec bb /v/script
	[ "$status" = 126 ]
	output=$(timeout 60 podman --root "$POD/root" --runroot "$POD/run" --storage-driver overlay run --rm \
		--network none --preserve-fds 2 bb sh -c 'cat <&4; echo more >&3' \
		3>>"$POD/tmp/dir/new" 4<"$POD/tmp/single")
	[ "$output" = changed ]
	[ "$(<"$POD/tmp/dir/new")" = $'new\nmore' ]
	pod volume rm named >/dev/null
}

@test "a socket of the host: reached, by whom its mode allows, and left in place" {
	local streams=$REPO/build/tests/vm/streams

	[ -x "$streams" ] || skip "the test program is not built"
	"$streams" echo "unix:$POD/tmp/sock" 2>"$POD/tmp/ready" 3>&- &
	server=$!
	wait_until grep -q ready "$POD/tmp/ready"
	once -v "$POD/tmp/sock:/run/sock" -v "$streams:/bin/streams" bb sh -c 'echo word | streams pipe unix:/run/sock
		streams many unix:/run/sock 20 10000; stat -c %F /run/sock; echo /proc/[0-9]*'
	[ "$status" = 0 ] && [ "$output" = $'word\n20 streams\nsocket\n/proc/1' ]
	chmod 600 "$POD/tmp/sock"
	once --user alice -v "$POD/tmp/sock:/run/sock" -v "$streams:/bin/streams" bb sh -c \
		'echo x | streams pipe unix:/run/sock || echo x | streams pipe vsock:1836449792'
	[ "$status" = 1 ] && [ -z "$output" ]
	chmod 666 "$POD/tmp/sock"
	once --userns auto:size=2000 --user 1000 --read-only -v "$POD/tmp/sock:/run/sock" -v "$streams:/bin/streams" bb \
		sh -c 'echo word | streams pipe unix:/run/sock; stat -c %u /run/sock'
	[ "$status" = 0 ] && [ "$output" = $'word\n65534' ]
	[ -S "$POD/tmp/sock" ]
	kill "$server"
}

@test "what the host mounts below a volume later: a slave sees it, another does not" {
	local source=$POD/tmp/source

	mkdir "$source"
	mount -t tmpfs source "$source"
	mount --make-shared "$source"
	mkdir "$source/below"
	pod run -d --name later --network none -v "$source:/slave:rslave" -v "$source:/own:rprivate" \
		bb sleep 1000 >/dev/null
	mount -t tmpfs below "$source/below"
	echo word >"$source/below/file"
	wait_until pod exec later test -e /slave/below/file
	run_pod exec later sh -c 'ls /own/below; cat /slave/below/file; echo back >/slave/below/new'
	[ "$output" = word ]
	[ "$(<"$source/below/new")" = back ]
	umount -l "$source/below"
	wait_until pod exec later test ! -e /slave/below/file
	pod rm -f -t 0 later >/dev/null
	umount "$source"
}

@test "cp both ways, diff, commit, export: the host sees what the guest writes" {
	pod run -d --name files --network none -v files:/vol --tmpfs /mem bb sh -c 'echo made >/made; rm /etc/text; while :; do sleep 1; done' >/dev/null
	wait_until pod exec files test -e /made
	echo from-host >"$POD/tmp/file"
	pod cp "$POD/tmp/file" files:/tmp/there
	pod cp "$POD/tmp/file" files:/vol/there
	run_pod exec files cat /tmp/there /vol/there
	[ "$output" = $'from-host\nfrom-host' ]
	run_pod cp "$POD/tmp/file" files:/mem/there
	[[ $errors == *"read-only file system"* ]]
	pod cp files:/made "$POD/tmp/back"
	[ "$(<"$POD/tmp/back")" = made ]
	run_pod diff files
	has 'A /made' 'D /etc/text'
	pod export files | tar -t | grep -qx made
	pod commit -q files other >/dev/null
	pod rm -f -t 0 files >/dev/null
	pod volume rm files >/dev/null
	once other cat /made
	[ "$output" = made ]
}
