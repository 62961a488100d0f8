#!/usr/bin/env bats
# lab: memory=3G timeout=600
# Sockets of the host's in a job: -v SOCKET:PLACE.
# shellcheck disable=SC2016,SC2154 # the guest expands it

setup() {
	load job
	job_setup
	streams=$REPO/build/tests/vm/streams
	[ -x "$streams" ] || skip "the test program is not built"
	cp "$streams" "$TREE/bin/"
	server=
}

teardown() {
	stop_leftovers
	[ -z "$server" ] || kill "$server" 2>/dev/null || true
}

# serve VERB SOCKET [WORDS...]: a server on the host.
serve() {
	"$streams" "$1" "unix:$2" "${@:3}" 2>ready >served 3>&- &
	server=$!
	await 10 grep -q ready ready
}

@test "much both ways, many at once, and ends that arrive" {
	serve echo "$PWD/sock"
	job -v "$PWD/sock:/run/deep/sock:ro" -- sh -c 'head -c 5000000 /dev/urandom >/tmp/a
		streams pipe unix:/run/deep/sock </tmp/a | cmp - /tmp/a && echo same
		streams many unix:/run/deep/sock 60 30000
		[ -S /run/deep/sock ] && echo socket'
	[ "$status" = 0 ]
	[ "${output//$'\n'/ }" = 'same 60 streams socket' ]
	quiet
	kill "$server"
	serve count "$PWD/sock"
	job -v "$PWD/sock:/sock" -- sh -c 'head -c 1000000 /dev/zero | streams pipe unix:/sock'
	[ "$status" = 0 ] && [ "$output" = '1000000 bytes' ]
	[ "$(<served)" = '1000000 bytes' ]
	[ ! -e "$TREE/sock" ]
}

@test "what was written before the end arrives" {
	serve count "$PWD/sock"
	job -v "$PWD/sock:/sock" -- sh -c 'head -c 3000000 /dev/zero | streams say unix:/sock'
	[ "$status" = 0 ]
	LIMIT=10 await 10 test -s served
	[ "$(<served)" = '3000000 bytes' ]
}

@test "who may: by mode and owner, and not past them; nobody who listens is an end at once" {
	serve echo "$PWD/sock"
	chown 1000:100 sock
	chmod 660 sock
	job -v "$PWD/sock:/sock" -- sh -c 'stat -c "%a %u %g" /sock; echo root | streams pipe unix:/sock
		chown 0 /sock
		su alice -c "echo group | streams pipe unix:/sock"
		chmod 600 /sock
		su alice -c "echo no | streams pipe unix:/sock || echo kept out" 2>&1
		for word in no 0123456789abcde; do
			echo $word | streams pipe vsock:1836449792 2>/dev/null
		done
		echo yes | streams pipe unix:/sock'
	[ "$status" = 0 ]
	[ "$(grep -v '^streams:' <<<"$output")" = $'660 1000 100\nroot\ngroup\nkept out\nyes' ]
	[ "$(stat -c '%a %u' sock)" = '660 1000' ]
	kill "$server"
	job -v "$PWD/sock:/sock" -- sh -c 'timeout 20 streams pipe unix:/sock </dev/null 2>/dev/null
		[ $? = 124 ] || echo over'
	[ "$output" = over ]
}

@test "sockets that cannot be" {
	"$REPO/build/tests/vm/notify" listen "$PWD/dgram" 3>&- &
	server=$!
	await 10 test -e dgram
	LIMIT=20 job -v "$PWD/dgram:/sock" -- true
	[ "$status" = 125 ]
	said "--volume: $PWD/dgram: a socket for datagrams*"
	kill "$server"
	serve echo "$PWD/sock"
	LIMIT=20 job -v "$PWD/sock:/etc/passwd/sock" -- true
	[ "$status" = 125 ]
	said '*cannot make the socket /etc/passwd/sock: not a directory*'
}
