# Sourced by the makers of this folder: the cache, and how things get into it.
# shellcheck shell=bash

# shellcheck disable=SC2034 # for those who source this
cache=${MICROVM_CACHE:-$HOME/.cache/microvm-lab}

say() {
	echo "images: $*" >&2
}

die() {
	say "$@"
	exit 1
}

# fetch FOLDER PACKAGE...: downloads packages (not installed) into FOLDER.
fetch() {
	local folder=$1
	shift
	say "fetching $*"
	(cd "$folder" && apt-get -q -o APT::Sandbox::User=root download "$@" >&2)
}

# make_cached PATH COMMAND...: runs COMMAND TEMPORARY once to make the file or
# folder PATH of the cache, whole or not at all, whoever else does the same.
make_cached() {
	local path=$1 temp
	shift
	[ ! -e "$path" ] || return 0
	[ -z "${MICROVM_LAB:-}" ] || die "$path is not made yet; that needs to be done outside the lab"
	mkdir -p "${path%/*}"
	exec 8>"$path.lock"
	flock 8
	if [ ! -e "$path" ]; then
		find "${path%/*}" -maxdepth 1 -name '.new.*' -mmin +180 -exec rm -rf {} + # of killed makers
		temp=$(mktemp -d "${path%/*}/.new.XXXXXX")
		if ! ("$@" "$temp/out") 8>&- >&2; then
			rm -rf "$temp"
			die "could not make $path"
		fi
		mv "$temp/out" "$path"
		rm -rf "$temp"
	fi
	exec 8>&-
}

# extract_vmlinux BZIMAGE OUT: the ELF kernel in a bzImage.
extract_vmlinux() {
	local magic tool offset

	while read -r magic tool; do
		# shellcheck disable=SC2013
		for offset in $(LC_ALL=C grep -aboP "$magic" "$1" | cut -d: -f1); do
			tail -c "+$((offset + 1))" "$1" | $tool 2>/dev/null >"$2" || true
			[ "$(head -c 4 "$2" | tail -c 3)" != ELF ] || return 0
		done
	done <<-'END'
		\xfd7zXZ\x00 xz -dc
		\x28\xb5\x2f\xfd zstd -dc
		\x1f\x8b\x08 gzip -dc
		\x02\x21\x4c\x18 lz4 -dc
	END
	die "no ELF kernel found in $1"
}
