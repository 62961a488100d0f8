# What a person at the keyboard does: run, exec, logs, stop, kill, and the exit statuses of it all.
# lab: memory=4G timeout=900
# shellcheck shell=bash disable=SC2154

load podman

setup_file() {
	podman_file
	pod run -d --name box --network none --health-cmd 'test -e /tmp/healthy' \
		--health-interval disable bb sleep 10000 >/dev/null
}

teardown_file() {
	end_file
}

@test "a status is the command's; the words of errors are podman's own" {
	once bb sh -c 'echo out; echo err >&2; exit 3'
	[ "$status" = 3 ] && [ "$output" = out ] && [ "$errors" = err ]
	once bb nosuch
	[ "$status" = 127 ]
	[[ $errors == *nosuch* ]]
	once bb /etc/text
	[ "$status" = 126 ]
	once bb /etc
	[ "$status" = 126 ]
	once bb sh -c 'sh -c "kill -9 \$\$"; exit $?'
	[ "$status" = 137 ]
}

@test "input through a pipe, and twenty megabytes of output to each side, whole" {
	local sum

	sum=$(head -c 20000000 /dev/urandom | tee "$POD/tmp/in" | sha256sum)
	status=0
	LIMIT=300 pod run --rm -i --log-driver none --network none bb sh -c 'tee /dev/stderr' <"$POD/tmp/in" \
		>"$POD/tmp/out" 2>"$POD/tmp/err" || status=$?
	[ "$status" = 0 ]
	[ "$(sha256sum <"$POD/tmp/out")" = "$sum" ]
	[ "$(sha256sum <"$POD/tmp/err")" = "$sum" ]
}

@test "exec: output, input, statuses, user, environment, folder, terminal" {
	run_pod exec box sh -c 'echo out; echo err >&2; exit 5'
	[ "$status" = 5 ] && [ "$output" = out ] && [ "$errors" = err ]
	run_pod exec box nosuch
	[ "$status" = 127 ]
	run_pod exec box /etc/text
	[ "$status" = 126 ]
	run_pod exec box sh -c 'kill -TERM $$'
	[ "$status" = 143 ]
	run_pod exec -i box tr a-z A-Z <<<"input"
	[ "$status" = 0 ] && [ "$output" = INPUT ]
	run_pod exec -u alice -e A=b -w /var box sh -c 'id -un; echo "$A" "$PWD"'
	[ "$output" = $'alice\nb /var' ]
	run_pod exec -d box touch /tmp/detached
	[ "$status" = 0 ]
	wait_until pod exec box test -e /tmp/detached
	run_pod exec -t box sh -c 'tty; test -t 0 && test -t 1 && echo terminal'
	[[ $output == /dev/pts/*terminal* ]]
}

@test "health check" {
	run_pod healthcheck run box
	[ "$status" = 1 ]
	pod exec box touch /tmp/healthy
	run_pod healthcheck run box
	[ "$status" = 0 ]
}

@test "a terminal: its size, a new size, Ctrl-C" {
	local tty

	# script gives podman a terminal; what we write is what a person types.
	mkfifo "$POD/tmp/keys"
	TERM=xterm SHELL=/bin/bash script -qefc \
		"stty rows 33 cols 99; podman --root $POD/root --runroot $POD/run --storage-driver overlay \
		run --rm -it --network none --name term bb sh -c 'tty; stty size; echo pid \$\$; trap \"echo resized; stty size\" WINCH; trap \"echo interrupted; exit 44\" INT; while :; do sleep 0.2; done'" \
		/dev/null <"$POD/tmp/keys" >"$POD/tmp/screen" 3>&- &
	exec 4>"$POD/tmp/keys"
	wait_until grep -q 'pid ' "$POD/tmp/screen"
	cat "$POD/tmp/screen"
	grep -q '33 99' "$POD/tmp/screen"
	tty=$(ps -o tty= -p "$(pgrep -f 'podman.*--name term' | tail -n 1)")
	stty -F "/dev/$tty" rows 44 cols 111
	wait_until grep -q '44 111' "$POD/tmp/screen"
	printf '\003' >&4
	status=0
	wait $! || status=$?
	exec 4>&-
	cat "$POD/tmp/screen"
	grep -q interrupted "$POD/tmp/screen"
	[ "$status" = 44 ]
}

@test "in the background: logs, wait, top, stats, inspect, pause" {
	pod run -d --name bg --network none bb sh -c \
		'trap "echo hup" HUP; trap "exit 7" USR1; echo begun; echo bad >&2; while :; do sleep 0.1; done'
	wait_until eval 'pod logs bg 2>/dev/null | grep -q begun'
	[ "$(pod logs bg 2>&1 >/dev/null)" = bad ]
	pod kill -s HUP bg
	wait_until eval 'pod logs bg 2>/dev/null | grep -q hup'
	run_pod inspect -f '{{.State.Status}} {{.State.Running}} {{.OCIRuntime}}' bg
	[ "$output" = "running true microvm-oci" ]
	run_pod stats --no-stream --format '{{.Name}} {{.MemUsage}} {{.PIDS}}' bg
	[[ $status = 0 && $output == bg*B* ]]
	run_pod top bg -ef
	[ "$status" = 0 ]
	run_pod top bg
	[[ $status = 0 && $output == *root*"echo begun"* ]]
	pod pause bg
	run_pod inspect -f '{{.State.Status}}' bg
	[ "$output" = paused ]
	run_pod exec bg true
	[ "$status" != 0 ]
	pod unpause bg
	run_pod exec bg echo back
	[ "$output" = back ]
	pod kill -s USR1 bg
	run_pod wait bg
	[ "$output" = 7 ]
	run_pod inspect -f '{{.State.ExitCode}}' bg
	[ "$output" = 7 ]
	pod rm bg
}

@test "stop waits for the process; after the grace, it is killed; restart" {
	local start signal

	pod run -d --name polite --network none bb sh -c 'trap "echo bye; exit 0" TERM
		for i in FPE SEGV ABRT WINCH; do trap "echo got $i" $i; done
		echo begun; while :; do sleep 0.1; done'
	wait_until eval 'pod logs polite | grep -q begun'
	for signal in FPE SEGV ABRT WINCH; do # what means a fault elsewhere is sent here
		pod kill -s $signal polite
		wait_until eval "pod logs polite | grep -q 'got $signal'"
	done
	run_pod stop -t 20 polite
	[ "$status" = 0 ]
	[[ "$(pod logs polite)" == *bye ]]
	run_pod inspect -f '{{.State.ExitCode}}' polite
	[ "$output" = 0 ]
	run_pod start polite
	wait_until eval '[ "$(pod logs polite | grep -c begun)" = 2 ]'
	run_pod restart -t 5 polite
	[ "$status" = 0 ]
	wait_until eval '[ "$(pod logs polite | grep -c begun)" = 3 ]'
	pod kill polite
	run_pod wait polite
	[ "$output" = 137 ]
	pod rm polite

	pod run -d --name deaf --network none bb sh -c 'trap "" TERM; echo begun; while :; do sleep 0.1; done'
	wait_until eval 'pod logs deaf | grep -q begun'
	start=$SECONDS
	run_pod stop -t 2 deaf
	[ $((SECONDS - start)) -ge 2 ]
	run_pod inspect -f '{{.State.ExitCode}}' deaf
	[ "$output" = 137 ]
	pod rm deaf
	# Process 1, which did not ask for the signal.
	run_pod stop -t 1 box
	run_pod inspect -f '{{.State.ExitCode}}' box
	[ "$output" = 137 ]
	run_pod rm -f -t 0 box
	[ "$status" = 0 ]
}
