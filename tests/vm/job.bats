#!/usr/bin/env bats
# lab: memory=3G timeout=900
# One command in a machine of its own: its status, its words, who it is, how it is ended.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154 # the guest expands it; tests are subshells

setup() {
	load job
	job_setup
}

teardown() {
	stop_leftovers
}

setup_file() {
	load job
	BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR job_setup
	remember
}

@test "the command's status is ours: 7, 255; by signal 128 and its number" {
	job -- sh -c 'exit 7'
	[ "$status" = 7 ]
	job -- sh -c 'exit 255'
	[ "$status" = 255 ]
	job -- sh -c 'kill -KILL $$'
	[ "$status" = 137 ]
	job -- /bin/true
	[ "$status" = 0 ]
	quiet
	[ ! -s "$out" ]
}

@test "a command that is not there gives 127, one that cannot be run 126" {
	job -- nosuch --option
	[ "$status" = 127 ]
	said 'nosuch: not found in PATH*'
	job -- /etc/passwd
	[ "$status" = 126 ]
	said '/etc/passwd: permission denied*'
}

@test "every way not to start, in one machine" {
	printf '#!/nosuch/sh\n' >"$TREE/noshell"
	printf 'not a program\n' >"$TREE/noformat"
	chmod +x "$TREE/noshell" "$TREE/noformat"
	start_job --name ways -- sh -c 'echo ready; cat /dev/zero >/dev/null'
	await_word ready
	out=out.exec
	for word in 127:/nosuch 127:/noshell 126:/noformat 126:/etc 127:/etc/passwd/x \
		127:bin/nosuch; do
		exec_in ways -- "${word#*:}"
		[ "$status" = "${word%%:*}" ]
		said "${word#*:}: *"
	done
	exec_in ways -- sh -c 'exit 9'
	[ "$status" = 9 ]
	exec_in ways -- sh -c 'kill -TERM $$'
	[ "$status" = 143 ]
	"$MICROVM" kill -s KILL ways
	end_guest
	[ "$status" = 137 ]
}

@test "standard output and error, byte for byte and apart, 100 MB and the status behind them" {
	head -c 20000000 /dev/urandom >piece
	cat piece piece piece >one
	cat piece piece >two
	job -v "$PWD:/v:ro" -- sh -c 'cat /v/one & cat /v/two >&2; wait; exit 7'
	[ "$status" = 7 ]
	cmp one "$out"
	cmp two "$log"
}

@test "a slow reader gets everything, and the status" {
	status=0
	timeout 100 "$MICROVM" run "${mod[@]}" --rootfs "$TREE" -- sh -c 'seq 1 300000; exit 3' \
		</dev/null 2>"$log" 3>&- | (sleep 6; cat >got) || status=$?
	cat "$log"
	seq 1 300000 | cmp - got
	run bash -c "set -o pipefail; '$MICROVM' run ${mod[*]} --rootfs '$TREE' -- sh -c 'seq 1 300000; exit 3' \
		</dev/null | (sleep 5; tail -n 1)"
	echo "status $status: $output"
	[ "$status" = 3 ]
	[ "$output" = 300000 ]
}

@test "standard input: none without -i; with it a pipe, byte for byte, to its end" {
	INPUT=/etc/passwd job -- cat
	[ "$status" = 0 ]
	[ ! -s "$out" ]
	head -c 5000000 /dev/urandom >sent
	INPUT=sent job -i -- cat
	[ "$status" = 0 ]
	cmp sent "$out"
	status=0
	(echo one; sleep 4; echo two) | "$MICROVM" run "${mod[@]}" --rootfs "$TREE" -i -- sh -c \
		'read a; echo "$a"; read b; echo "$b"; cat; exit 4' >"$out" 2>"$log" 3>&- || status=$?
	[ "$status" = 4 ]
	[ "$(cat "$out")" = $'one\ntwo' ]
	quiet
}

@test "input that nobody reads keeps neither the end nor a signal from coming" {
	INPUT=/dev/zero job -i -- sh -c 'sleep 1; exit 6'
	[ "$status" = 6 ]
	quiet
	: >"$out"
	"$MICROVM" run "${mod[@]}" --rootfs "$TREE" -i -- sh -c 'trap "exit 8" TERM; echo ready
		while :; do sleep 0.1; done' </dev/zero >"$out" 2>"$log" 3>&- &
	vm=$!
	await_word ready
	sleep 1
	kill "$vm"
	end_guest
	[ "$status" = 8 ]
}

@test "user, groups, home, environment, directory" {
	export OURS=ours
	job -u alice -e A=1 -e A=2 -e OURS -e NOT_OURS -e EMPTY= -w /home/alice -- sh -c \
		'id; pwd; env | grep -v "^PWD\|^SHLVL" | sort; touch mine; ls -ln mine | cut -d" " -f 1; touch /etc/x || exit 5'
	[ "$status" = 5 ]
	[ "$output" = "uid=1000(alice) gid=1000(alice) groups=100(users)
/home/alice
A=2
EMPTY=
HOME=/home/alice
OURS=ours
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
container=microvm
-rw-r--r--" ]
	job -u 1234:wheel -- sh -c 'id -u; id -g; id -G; echo $HOME; pwd'
	[ "$output" = $'1234\n10\n10\n/\n/' ]
	job -- sh -c 'id -u; id -g; echo $HOME; pwd; hostname; cat /etc/hostname; ulimit -c'
	[[ $output == $'0\n0\n/root\n/\nmicrovm\nmicrovm'* ]]
	job --hostname some-name -w /tmp -- sh -c 'hostname; ping -c 1 -W 1 some-name >/dev/null && echo itself; pwd'
	[ "$output" = $'some-name\nitself\n/tmp' ]
}

@test "what a program expects around it" {
	job -- sh -c 'set -e
		for f in /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/ptmx; do test -c $f || echo no $f; done
		for d in /proc/1 /sys/class /dev/pts /dev/shm /dev/mqueue /sys/fs/cgroup /run; do test -d $d || echo no $d; done
		echo out >/dev/stdout; echo err >/dev/stderr; ls /proc/self/fd
		echo $$ >/sys/fs/cgroup/cgroup.procs
		test "$(date +%Y)" -ge 2024 && echo clock
		touch /run/a /tmp/b /dev/shm/c && echo wrote
		ip -o link show lo | grep -o "[<,]UP[,>]"
		grep -c . /proc/self/status >/dev/null
		ps | grep -c "[k]thread" >/dev/null; sleep 100 & echo left behind'
	[ "$status" = 0 ]
	[ "$output" = $'out\n0\n1\n2\n3\nclock\nwrote\n,UP,\nleft behind' ]
	[ "$(<"$log")" = err ]
}

@test "-t: a terminal with its size, that follows ours; Ctrl-C; afterwards ours is as it was" {
	mkfifo in
	script -qefc "tty >tty; stty cols 132 rows 43; stty -a >before
		'$MICROVM' run ${mod[*]} --rootfs '$TREE' -it -e PS1='> ' -- sh; echo \"left \$?\"; stty -a >after" \
		/dev/null <in >out 2>&1 3>&- &
	vm=$!
	exec 9>in
	await 60 grep -q '^> ' out
	printf 'stty size; tty; test -t 2 && echo terminal; echo $TERM\n' >&9
	await 30 grep -q '43 132' out
	await 30 grep -q '/dev/pts/0' out
	await 30 grep -q '^terminal' out
	stty -F "$(cat tty)" -a | grep -q -- '-icanon'
	stty -F "$(cat tty)" cols 100 rows 30
	sleep 1
	printf 'sleep 1000\n' >&9
	sleep 1
	printf '\003' >&9
	printf 'stty size; echo still $((6 * 7))\n' >&9
	await 30 grep -q 'still 42' out
	grep -q '30 100' out
	printf 'exit 5\n' >&9
	status=0
	wait "$vm" || status=$?
	vm=
	exec 9>&-
	cat -v out
	tr -d '\r' <out | grep -qx 'left 5'
	diff <(sed 's/rows.*columns [0-9]*;//' before) <(sed 's/rows.*columns [0-9]*;//' after)
}

@test "-t without a terminal of ours: still one there; all of its output comes" {
	job -t -- sh -c 'test -t 0 && test -t 1 && test -t 2 && echo three; seq 1 20000; exit 4'
	[ "$status" = 4 ]
	[ "$(tr -d '\r' <"$out" | head -n 1)" = three ]
	diff <(tr -d '\r' <"$out" | tail -n +2) <(seq 1 20000)
	quiet
}

trapping='for s in INT TERM HUP QUIT USR1 USR2; do trap "echo got $s; exit 11" $s; done; echo ready; while :; do sleep 0.1; done'

@test "signals to microvm reach the process; its status says what it did" {
	for signal in INT HUP QUIT USR1; do
		start_job -- sh -c "$trapping"
		await_word ready
		kill -s "$signal" "$vm"
		end_guest
		[ "$status" = 11 ]
		[ "$output" = $'ready\n'"got $signal" ]
	done
	start_job -- sh -c 'echo ready; exec sleep 100'
	await_word ready
	kill "$vm"
	end_guest
	[ "$status" = 143 ]
	quiet
}

@test "a process that ignores signals is ended by the third" {
	start_job -- sh -c 'trap "" INT TERM; echo ready; while :; do sleep 1; done'
	await_word ready
	for _ in 1 2 3; do
		kill "$vm"
		sleep 0.5
	done
	end_guest
	[ "$status" = 143 ]
}

@test "a signal before the process is there ends the machine" {
	start_job -- sh -c 'echo started; sleep 100'
	sleep 0.4
	kill "$vm"
	end_guest
	[ "$status" = 143 ]
}

@test "--timeout: SIGTERM and what the process still says; the end after --grace; status 124" {
	job --timeout 4s -- sh -c 'trap "echo cleaning; exit 3" TERM; while :; do sleep 0.1; done'
	[ "$status" = 124 ]
	[ "$output" = cleaning ]
	grep -q -- '--timeout ran out after 4.000 s' "$log"
	start=$SECONDS
	job --timeout 3s --grace 1s -- sh -c 'trap "" TERM; while :; do sleep 1; done'
	[ "$status" = 124 ]
	[ $((SECONDS - start)) -lt 25 ]
	[ "$(wc -l <"$log")" = 1 ]
	job --timeout 500ms -- sleep 100 # not even booted
	[ "$status" = 124 ]
}

@test "a reader who has seen enough: 141" {
	run bash -c "set -o pipefail; '$MICROVM' run ${mod[*]} --rootfs '$TREE' -- yes </dev/null 2>err | head -n 1; exit \${PIPESTATUS[0]}"
	[ "$status" = 141 ]
	[ "$output" = y ]
	[ ! -s err ]
}

@test "output to a full disk: 125 and one line" {
	status=0
	timeout 60 "$MICROVM" run "${mod[@]}" --rootfs "$TREE" -- sh -c 'echo hello; sleep 100' \
		</dev/null >/dev/full 2>"$log" 3>&- || status=$?
	cat "$log"
	[ "$status" = 125 ]
	said 'cannot write to standard output: No space left on device'
}

@test "closed standard input and output" {
	status=0
	timeout 60 "$MICROVM" run "${mod[@]}" --rootfs "$TREE" -i -- sh -c 'cat; echo unheard; exit 7' <&- >&- 2>"$log" 3>&- ||
		status=$?
	[ "$status" = 7 ]
	quiet
}

@test "a shell's loop keeps its input; both streams into one file keep their order" {
	run bash -c "printf 'a\nb\n' | while read -r x; do '$MICROVM' run ${mod[*]} --rootfs '$TREE' -- echo \$x; done"
	[ "$output" = $'a\nb' ]
	"$MICROVM" run "${mod[@]}" --rootfs "$TREE" -- sh -c 'for i in 1 2 3; do echo o$i; sleep 0.3; echo e$i >&2; sleep 0.3; done' \
		>both 2>&1 </dev/null 3>&-
	[ "$(tr '\n' ' ' <both)" = 'o1 e1 o2 e2 o3 e3 ' ]
}

@test "arguments and variables of any bytes, and long ones" {
	long=$(head -c 100000 /dev/zero | tr '\0' x)
	job -e "A= a
b" -- sh -c 'printf "%s|" "$A" "$@"; printf %s "$LONG" | wc -c' sh 'a b' '' $'\xff\n' '*' '$HOME'
	[ "$(cat "$out")" = $' a\nb|a b||\xff\n|*|$HOME|0' ]
	job -e "LONG=$long" -- sh -c 'printf %s "$LONG$1" | wc -c' sh "$long"
	[ "$output" = 200000 ]
}

@test "a config file for a job" {
	cat >job.json <<-END
		{ "rootfs": "$TREE", "volume": ["$PWD:/src:ro"], "env": ["A=1", "B=2"], "workdir": "/src",
		  "user": "alice", "timeout": "60s", "memory": "256M", "tmpfs": "/scratch:size=1M",
		  "command": ["sh", "-c", "pwd; id -un; echo \$A \$B; ls job.json; exit 6"] }
	END
	status=0
	output=$("$MICROVM" run "${mod[@]}" --config job.json </dev/null 3>&-) || status=$?
	[ "$status" = 6 ]
	[ "$output" = $'/src\nalice\n1 2\njob.json' ]
	[ "$("$MICROVM" run "${mod[@]}" --config job.json -e A=3 -- sh -c 'echo $A $B' </dev/null)" = 3 ]
}

@test "many in a row leave nothing behind" {
	for _ in {1..8}; do
		"$MICROVM" run "${mod[@]}" --rootfs "$TREE" --net user -v "$PWD:/v" -- true </dev/null 3>&-
	done
	nothing_left
}
