#!/usr/bin/env bats
# lab: memory=3G timeout=900
# The examples of docs/ci.md and README.md, as they stand there.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154 # the guest expands it; tests are subshells

setup() {
	load job
	job_setup
	PATH=${MICROVM%/*}:$PATH
	[ -z "$MODULES" ] || skip "there is no small kernel"
}

teardown() {
	stop_leftovers
	! mountpoint -q "$SCRATCH/debian" || umount "$SCRATCH/debian"
}

# example NAME: the text of that example.
example() {
	awk -v mark="<!-- example: $1 -->" '$0 == mark { on = 1; next } on && /^```$/ { exit } on == 2; on && /^```sh$/ { on = 2 }' \
		"$REPO/docs/ci.md"
}

# project: a small project here, a root ./debian with a "make" that does for it, and microvm in PATH.
project() {
	cp -a "$TREE" debian
	rm -f debian/bin/make
	printf '#!/bin/sh\nfor w; do case $w in *=*) export "$w" ;; *) goal=$w ;; esac; done\n. ./Makefile.sh; $goal\n' >debian/bin/make
	chmod +x debian/bin/make
	mkdir project
	cat >project/Makefile.sh <<-'END'
		test() { echo testing; touch here; sh ./test.sh; }
		install() { mkdir -p "$DESTDIR/bin"; echo program >"$DESTDIR/bin/program"; ln -s /etc/passwd "$DESTDIR/link"; }
		fetch() { echo got >"$CACHE/item"; }
		offline() { cat "$CACHE/item"; echo bad >"$CACHE/item"; }
	END
	cd project || return
	ln -s ../debian debian
}

# shows NAME: runs that example; output is what it said.
shows() {
	local text

	text=$(example "$1")
	[ -n "$text" ]
	status=0
	output=$(bash -c "$text" </dev/null 2>&1 3>&-) || status=$?
	echo "$output"
	echo "status $status"
}

@test "a shell job that passes, fails, takes too long, cannot start" {
	project
	echo 'exit 0' >test.sh
	shows shell
	[ "$output" = passed ]
	[ ! -e here ]
	echo 'echo broken; exit 3' >test.sh
	shows shell
	[ "$output" = $'failed with status 3:\ntesting\nbroken' ]
	rm debian
	shows shell
	[[ $output == 'the machine failed, not the test:'*--rootfs* ]]
}

@test "artifacts, without what a link leads to" {
	project
	shows artifacts
	[ "$status" = 0 ]
	[ "$(tar -tf artifacts.tar)" = artifacts/bin/program ]
}

@test "a cache that is filled, and one that is only read" {
	project
	shows cache
	[ "$status" = 0 ]
	[ "$(<cache/item)" = got ]
	shows cache-ro
	[ "$status" != 0 ]
	[[ $output == got$'\n'*'Read-only file system'* ]]
	[ "$(<cache/item)" = got ]
}

@test "limits" {
	project
	shows limits
	[ "$status" = 1 ]
	[[ $output == head:* ]] # (busybox calls it an I/O error)
}

# The five minutes of README.md, in a whole Debian.
readme() {
	grep -F -e "$1" "$REPO/README.md" | head -n 1 | sed 's/^\$ //'
}

@test "README: what to run first" {
	local image

	image=$("$REPO/tests/images/image" debian 2>/dev/null) || skip "no Debian image is made yet"
	mkdir -p "$SCRATCH/debian"
	mount -o loop,ro "$image" "$SCRATCH/debian"
	ln -s "$SCRATCH/debian" debian
	try_readme
}

try_readme() {
	mkdir one two
	run bash -c "$(readme 'uname -a')"
	[ "$status" = 0 ]
	[[ $output == Linux* ]]
	run bash -c "$(readme 'cat /etc/debian_version')"
	[ "$status" = 0 ]
	[[ $output == 12.* ]]
	run bash -c "$(readme '-w /src -- ls')"
	[ "$status" = 0 ]
	[[ $output == *one*two* ]]
	run bash -c "$(readme '-- wc -c')"
	[ "$output" = 6 ]
	run bash -c "$(readme '-u nobody')"
	[[ $output == *LANG=C* ]]
	[[ $output == *HOME=/nonexistent* ]]
	run bash -c "$(readme '-- nproc')"
	[ "$output" = 2 ]
	echo '{ "rootfs": "debian", "volume": [".:/src"], "workdir": "/src", "memory": "1G", "command": ["ls"] }' >job.json
	run bash -c "$(readme 'microvm run --config job.json')"
	[ "$status" = 0 ]
	[[ $output == *job.json* ]]
}
