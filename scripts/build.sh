#!/usr/bin/env bash
# build.sh [VARIANT...]: builds the tree. Without a variant into build/, with
# asan, tsan or fuzz into build-VARIANT/.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

build() {
	local variant=$1 folder=$repo/build${1:+-$1}
	local options=() targets=()

	case $variant in
	'') ;;
	asan) options=(-Db_sanitize=address,undefined -Doptimization=1) ;;
	tsan) options=(-Db_sanitize=thread -Doptimization=1) ;;
	fuzz)
		export CC=clang
		options=(-Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=1)
		;;
	*) die "build: no variant $variant: asan, tsan or fuzz" ;;
	esac
	[ -e "$folder/build.ninja" ] || meson setup "$folder" "$repo" "${options[@]}"
	if [ "$variant" = fuzz ]; then # only those: the rest has no use for the fuzzer's hooks
		ninja -C "$folder" build.ninja
		mapfile -t targets < <(ninja -C "$folder" -t targets all |
			sed -n 's|^\(tests/fuzz/[^/]*\): c_LINKER.*|\1|p')
	fi
	ninja -C "$folder" "${targets[@]}"
}

"$repo/scripts/setup.sh"
[ $# -gt 0 ] || set -- ''
for variant; do
	(build "$variant")
done
