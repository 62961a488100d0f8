# Sourced by ./dev's verbs and by tests/run.
# shellcheck shell=bash

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck disable=SC2034 # for those who source this
cache=${MICROVM_CACHE:-$HOME/.cache/microvm-lab}
export PATH=$PATH:/usr/sbin:/sbin # mke2fs, ip and others, also for ordinary users

say() {
	echo "$*" >&2
}

die() {
	say "dev: $*"
	exit 1
}

# Can a stock kernel run here? A /dev/kvm alone does not say so: some hosts offer
# one that emulates instructions, and too few of them.
has_kvm() {
	grep -qEw 'vmx|svm' /proc/cpuinfo && [ -r /dev/kvm ] && [ -w /dev/kvm ]
}

# on_kvm [LAB OPTIONS] -- COMMAND...: here if a stock kernel runs here, or in the lab.
on_kvm() {
	local options=()

	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	shift
	if has_kvm; then
		"$@"
	else
		"$repo/tests/lab/lab" "${options[@]}" -- "$@"
	fi
}

# The C files and the scripts of the tree, one a line.
c_files() {
	(cd "$repo" && find . \( -name .git -o -name 'build*' \) -prune -o -name '*.[ch]' -print | sed 's|^\./||' | sort)
}

script_files() {
	(cd "$repo" && find . \( -name .git -o -name 'build*' \) -prune -o -type f -size -200k -print |
		xargs grep -lE '^#!/usr/bin/env (bash|bats)|^#!/bin/(ba)?sh|^# shellcheck shell=' |
		sed 's|^\./||' | sort)
}
