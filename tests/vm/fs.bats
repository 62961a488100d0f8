#!/usr/bin/env bats
# Directories of the host in the guest: what programs expect of them, real work, and no way out.
# lab: memory=4G timeout=1500
# shellcheck disable=SC2016,SC2030,SC2031,SC2154 # the guest expands it; guest.bash has the rest

setup() {
	load guest
	share=$SCRATCH/share
	mkdir "$share"
	posix=$REPO/build/tests/vm/fs_posix
	as=()
}

teardown() {
	stop_leftovers
	! mountpoint -q "$share/proc" || umount "$share/proc"
	rm -rf "$share" "$SCRATCH/out"
}

# job TEXT [OPTION...]: runs the shell text as a command in a machine whose root is this host's,
# with the share as /srv; the command before microvm itself, if any, is in as. Sets status and output.
job() {
	local text=$1 modules=()
	shift
	status=0
	[ -z "$MODULES" ] || modules=(--modules "$MODULES")
	timeout 300 "${as[@]}" "$MICROVM" run --kernel "$KERNEL" "${modules[@]}" --rootfs / \
		-v "$share:/srv${MODE:-}" -w /srv "$@" -- sh -c "$text" \
		</dev/null >"$BATS_TEST_TMPDIR/out" 2>"$log" 3>&- || status=$?
	output=$(tr -d '\r' <"$BATS_TEST_TMPDIR/out")
	show
}

# expectations CACHE [ARGUMENT...]: tests/vm/fs_posix.c in that cache mode.
expectations() {
	cp "$posix" "$share"
	job "mkdir work; cd work; ../fs_posix ${*:2}" --cache "$1"
	[ "$status" = 0 ]
	has '0 not met'
}

@test "what programs expect of a file system, cache auto" {
	expectations auto
}

@test "what programs expect of a file system, cache always" {
	expectations always
}

@test "what programs expect of a file system, no cache" {
	expectations none noshared
}

@test "the same with Linux 6.12, where shared mappings need no cache" {
	KERNEL=$KERNEL_6_12 MODULES=$MODULES_6_12
	expectations none
}

@test "a user without privileges shares his files as the guest's root" {
	chmod 666 /dev/kvm
	chown 1000:1000 "$share"
	mkdir -m 700 "$SCRATCH/home"
	chown 1000:1000 "$SCRATCH/home"
	cp "$posix" "$share"
	touch "$share/of-root"
	mkdir "$share/work"
	chown 1000:1000 "$share/work"
	# What lies where root alone can go is of no use to him.
	cp -L "$KERNEL_SMALL" "$SCRATCH/home/kernel"
	cp "$MICROVM" "$SCRATCH/home/program"
	chmod a+r "$SCRATCH"/home/*
	KERNEL=$SCRATCH/home/kernel MODULES= MICROVM=$SCRATCH/home/program
	as=(setpriv --reuid 1000 --regid 1000 --clear-groups
		env "HOME=$SCRATCH/home" "XDG_RUNTIME_DIR=$SCRATCH/home")
	job 'cd work; ../fs_posix noids; stat -c "%u:%g %n" . ../of-root; chown 7 . 2>&1'
	has '0 not met'
	has '0:0 .'
	has '1000:1000 ../of-root'
	grep -q 'not permitted' <<<"$output"
	[ "$(find "$share/work" ! -uid 1000 | wc -l)" = 0 ]
	rm -rf "${SCRATCH:?}/home"
}

@test "real work: git, tar with checksums, sqlite from three processes, make" {
	mkdir "$SCRATCH/repo"
	cp "$REPO"/virtio/*.c "$REPO"/docs/*.md "$SCRATCH/repo"
	(cd "$SCRATCH/repo" && git init -q . && git add . &&
		git -c user.name=t -c user.email=t@localhost commit -qm one)
	for i in 1 2 3 4; do echo "int f$i(void) { return $i; }" >"$share/$i.c"; done
	printf '#include <stdio.h>\nint main(void) { puts("made"); return 0; }\n' >>"$share/4.c"
	printf 'prog: 1.o 2.o 3.o 4.o\n\tgcc -o $@ $^\n' >"$share/Makefile"
	export_repo=$SCRATCH/repo
	job 'set -e; export HOME=/tmp
		git -c safe.directory=* clone -q "file://'"$export_repo"'" clone
		cd clone; git fsck --strict; git status --short; git log --oneline | wc -l; cd ..
		tar -cf t.tar clone; mkdir out; tar -xf t.tar -C out
		(cd clone && find . -type f | sort | xargs sha256sum) >a
		(cd out/clone && find . -type f | sort | xargs sha256sum) >b
		cmp a b && echo the same
		sqlite3 db "create table t(a)"
		for p in 1 2 3; do
			(for i in 1 2 3 4 5; do
				sqlite3 -cmd ".timeout 60000" db "insert into t values($p)"
			done) &
		done
		wait
		sqlite3 db "select count(*) from t; pragma integrity_check"
		make -s -j2 && ./prog'
	rm -rf "$SCRATCH/repo"
	[ "$status" = 0 ]
	has 1
	has 'the same'
	has 15
	has ok
	has made
	# And from here it looks the same.
	[ "$(cd "$share/clone" && find . -type f | sort | xargs sha256sum)" = "$(cat "$share/a")" ]
	[ "$(sqlite3 "$share/db" 'pragma integrity_check')" = ok ]
}

@test "read-only: nothing changes" {
	echo content >"$share/file"
	MODE=:ro
	job 'cat file; echo x >file; touch new; rm file; mount -o remount,rw /srv; echo x >file
		chmod 777 file; ls' 2>&1
	has content
	[ "$(cat "$share/file")" = content ]
	[ "$(ls "$share")" = file ]
	[ "$(stat -c %a "$share/file")" = 644 ]
}

@test "one file as a volume, written through" {
	echo before >"$share/one"
	echo other >"$share/two"
	job 'cat /run/one; echo after >/run/one; ls /run/one* | wc -l' -v "$share/one:/run/one"
	has before
	has 1
	[ "$(cat "$share/one")" = after ]
	[ "$(cat "$share/two")" = other ]
}

@test "no way out: links, the host's /proc below, and what happens meanwhile" {
	mkdir -m 700 "$SCRATCH/out"
	echo outside >"$SCRATCH/out/file"
	ln -s "$SCRATCH/out/file" "$share/absolute"
	ln -s ../out/file "$share/relative"
	ln -s ../out "$share/dir"
	mkdir "$share/proc" "$share/swap"
	mount -t proc proc "$share/proc"
	(while :; do
		mv -T "$share/swap" "$share/away"
		ln -s ../out "$share/swap"
		rm "$share/swap"
		mv -T "$share/away" "$share/swap"
	done 2>/dev/null) 3>&- &
	vm=$!
	job 'for f in absolute relative dir/file dir/new; do echo written >$f; done 2>/dev/null
		ls proc 2>&1 | head -n 1
		(echo core >proc/sys/kernel/core_pattern) 2>&1
		for i in $(seq 300); do (echo x >swap/file; echo x >swap/new) 2>/dev/null; done
		cat ../../../..//file 2>&1; true'
	[ "$status" = 0 ]
	grep -q 'ermission denied' <<<"$output"
	[ "$(cat "$SCRATCH/out/file")" = outside ]
	[ "$(ls "$SCRATCH/out")" = file ]
	kill "$vm"
	vm=
}

@test "locks hold between host and guest" {
	: >"$share/lock"
	exec 9>"$share/lock"
	flock 9
	(
		await 100 test -e "$share/tried"
		flock -u 9
	) 3>&- &
	job 'flock -n lock echo too early; echo $? >tried; flock lock echo got it'
	exec 9>&-
	[ "$status" = 0 ]
	[ "$output" = 'got it' ]
	[ "$(cat "$share/tried")" = 1 ]
}

@test "a path that cannot be shared is refused with its name" {
	share=$SCRATCH/absent job true
	[ "$status" != 0 ]
	grep -q "$SCRATCH/absent" "$log"
	share=/proc job true
	[ "$status" != 0 ]
	grep -q "interface of the host's kernel" "$log"
}
