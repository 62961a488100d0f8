#!/usr/bin/env bats
# lab: memory=3G timeout=900
# Machines with names: exec, ps, kill; and what is left when one is killed.
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

# running NAME [OPTION...]: a machine that does nothing but to be there.
running() {
	local name=$1

	shift
	start_job --name "$name" "$@" -- sh -c 'trap "echo TERM; exit 12" TERM; trap "echo USR1" USR1
		echo ready; while :; do sleep 0.2; done'
	await_word ready
	machine_out=$out
	out=$BATS_TEST_TMPDIR/out.exec
}

# ended: kills it, and waits.
ended() {
	kill "$vm"
	out=$machine_out end_guest
}

@test "exec: output, error, input, status, user, directory, environment" {
	mkdir v
	running one -v "$PWD/v:/v"
	exec_in one -- sh -c 'echo out; echo err >&2; exit 7'
	[ "$status" = 7 ]
	[ "$output" = out ]
	[ "$(<"$log")" = err ]
	head -c 3000000 /dev/urandom >sent
	INPUT=sent exec_in -i one -- cat
	[ "$status" = 0 ]
	cmp sent "$out"
	INPUT=sent exec_in one -- sh -c 'cat | wc -c'
	[ "$output" = 0 ]
	exec_in -u alice -w /home/alice -e A=b one -- sh -c 'id -un; pwd; echo $A $HOME; kill -9 $$'
	[ "$status" = 137 ]
	[ "$output" = $'alice\n/home/alice\nb /home/alice' ]
	exec_in one -- sh -c 'echo there >/v/file; hostname'
	[ "$output" = one ]
	[ "$(<v/file)" = there ]
	exec_in one -u nobody-knows -- true
	[ "$status" = 125 ]
	said "no user 'nobody-knows' in the guest's /etc/passwd"
	exec_in one -- nosuch
	[ "$status" = 127 ]
	exec_in one -w /nosuch -- pwd
	[ "$status" = 125 ]
	said '*/nosuch*'
	ended
	[ "$status" = 12 ]
}

@test "exec waits for a machine that has only just been started" {
	start_job --name fresh -- sleep 100
	await 20 is_running fresh
	exec_in fresh -- echo reached
	[ "$status" = 0 ]
	[ "$output" = reached ]
	kill "$vm"
	end_guest
}

is_running() {
	"$MICROVM" ps -q | grep -qx "$1"
}

@test "exec -it: a terminal of its own, Ctrl-C, a size that follows" {
	running term
	mkfifo in
	script -qefc "tty >tty; stty cols 90 rows 33
		'$MICROVM' exec -it -e PS1='> ' term -- sh; echo \"left \$?\"; stty -a >after" /dev/null <in >screen 2>&1 3>&- &
	terminal=$!
	exec 9>in
	await 60 grep -q '^> ' screen
	printf 'stty size\n' >&9
	await 30 grep -q '33 90' screen
	stty -F "$(cat tty)" cols 70 rows 22
	sleep 1
	printf 'sleep 1000\n' >&9
	sleep 1
	printf '\003' >&9
	printf 'stty size; exit 6\n' >&9
	wait "$terminal" || true
	exec 9>&-
	cat -v screen
	grep -q '22 70' screen
	tr -d '\r' <screen | grep -qx 'left 6'
	grep -q -- ' icanon' after
	ended
}

@test "twenty at once, each with its own output and status" {
	running busy --memory 256M
	pids=()
	for i in {1..20}; do
		"$MICROVM" exec busy -- sh -c "seq $i 20000; exit $i" </dev/null >"o$i" 2>"e$i" 3>&- &
		pids+=($!)
	done
	for i in {1..20}; do
		status=0
		wait "${pids[i - 1]}" || status=$?
		[ "$status" = "$i" ]
		cmp <(seq "$i" 20000) "o$i"
		[ ! -s "e$i" ]
	done
	ended
	[ "$status" = 12 ]
}

@test "exec ends with its machine, a signal reaches its process, and its end is no other's" {
	running host
	"$MICROVM" exec host -- sh -c 'trap "echo caught; exit 9" TERM; echo up; while :; do sleep 0.1; done' \
		</dev/null >o 2>e 3>&- &
	pid=$!
	await 30 grep -q up o
	kill "$pid"
	status=0
	wait "$pid" || status=$?
	[ "$status" = 9 ]
	grep -qx caught o
	# One that is killed leaves nothing running in the guest.
	"$MICROVM" exec host -- sh -c 'echo up; exec sleep 4321' </dev/null >o2 2>&1 3>&- &
	pid=$!
	await 30 grep -q up o2
	kill -9 "$pid"
	wait "$pid" || true
	await 20 gone_in host 4321
	"$MICROVM" exec host -- sleep 1000 </dev/null >o3 2>e3 3>&- &
	pid=$!
	sleep 1
	ended
	[ "$status" = 12 ]
	status=0
	wait "$pid" || status=$?
	cat e3
	[ "$status" = 125 ] || [ "$status" = 137 ]
	[ "$(wc -l <e3)" -le 1 ]
	exec_in host -- true
	[ "$status" = 125 ]
	said "no machine called 'host' is running*"
}

gone_in() {
	! "$MICROVM" exec "$1" -- ps </dev/null | grep -q "$2"
}

@test "ps: a table, names, JSON; kill by name and signal; names are taken once" {
	[ -z "$("$MICROVM" ps -q)" ]
	[ "$("$MICROVM" ps --json | tr -d ' \n')" = '[]' ]
	[ "$("$MICROVM" ps | wc -l)" = 1 ]
	running first
	"$MICROVM" run "${mod[@]}" --rootfs "$TREE" -- sh -c 'sleep 100' 'a b' $'\033' </dev/null 3>&- &
	second=$!
	await 20 two_run
	"$MICROVM" ps
	"$MICROVM" ps | grep -q "^first  *$vm  *20[-0-9]* [0-9:]*  $TREE  sh -c"
	[ "$("$MICROVM" ps | grep -c $'\033')" = 0 ]
	"$MICROVM" ps --json | python3 -c '
import json, sys
a = {m["name"]: m for m in json.load(sys.stdin)}
assert len(a) == 2 and a["first"]["pid"] == int(sys.argv[1]), a
b = [m for n, m in a.items() if n != "first"][0]
assert b["command"] == ["sh", "-c", "sleep 100", "a b", "\033"] and b["root"] == sys.argv[2], b
assert a["first"]["started"] > 1.6e9' "$vm" "$TREE"
	job --name first -- true
	[ "$status" = 125 ]
	said '--name first: a machine of that name is running*'
	"$MICROVM" kill -s USR1 first
	await 10 grep -q USR1 "$machine_out"
	run "$MICROVM" kill -s NOSUCH first
	[ "$status" = 2 ]
	run "$MICROVM" kill nobody
	[ "$status" = 2 ]
	[[ $output == *"no machine called 'nobody'"* ]]
	other=$("$MICROVM" ps -q | grep -v first)
	"$MICROVM" kill "$other"
	status=0
	wait "$second" || status=$?
	[ "$status" = 143 ]
	"$MICROVM" kill first
	out=$machine_out end_guest
	[ "$status" = 12 ]
	[ -z "$("$MICROVM" ps -q)" ]
}

two_run() {
	[ "$("$MICROVM" ps -q | wc -l)" = 2 ]
}

@test "what kill -9 leaves, the next start removes; at every stage of a machine's life" {
	running doomed --vsock "$PWD/door"
	kill -9 "$vm"
	wait "$vm" || true
	[ -e /run/microvm/doomed ]
	[ -z "$("$MICROVM" ps -q)" ]
	exec_in doomed -- true
	[ "$status" = 125 ]
	out=$machine_out
	job --name doomed --vsock "$PWD/door" -- true
	[ "$status" = 0 ]
	for delay in 0.02 0.05 0.1 0.2 0.4 0.8 1.2; do
		start_job -v "$PWD:/v" --net user -- sh -c 'sleep 1000'
		sleep "$delay"
		kill -9 "$vm"
		wait "$vm" || true
	done
	vm=
	job -- true
	[ "$status" = 0 ]
	nothing_left
}

@test "a machine with its own init has a name, too" {
	start_guest 'echo ready; sleep 1000' --name plain
	await_word ready
	[ "$("$MICROVM" ps -q)" = plain ]
	exec_in plain -- true
	[ "$status" = 125 ]
	said "the machine 'plain' was started without a command*"
	out=$BATS_TEST_TMPDIR/out log=$BATS_TEST_TMPDIR/log
	"$MICROVM" kill plain
	end_guest
	[ "$status" = 143 ]
	nothing_left
}

@test "who may not write there is told; another's machines are not seen" {
	public=$(mktemp -d /tmp/public.XXXXXX)
	chmod 755 "$public"
	cp "$MICROVM" "$public/microvm"
	run setpriv --reuid 65534 --regid 65534 --clear-groups -- env -u XDG_RUNTIME_DIR "$public/microvm" ps -q
	[ "$status" = 0 ]
	[ -z "$output" ]
	mkdir /tmp/microvm-65534
	run setpriv --reuid 65534 --regid 65534 --clear-groups -- env -u XDG_RUNTIME_DIR "$public/microvm" ps -q
	rm -r "$public" /tmp/microvm-65534
	[ "$status" = 5 ]
	[[ $output == *'belongs to somebody else'* ]]
}
