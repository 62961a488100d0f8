#!/usr/bin/env bash
# fuzz.sh [TARGET [SECONDS]]: runs the libFuzzer target tests/fuzz/TARGET.c, from
# the seeds in tests/fuzz/seeds/TARGET/; without a target, lists them. What it
# finds and the corpus it grows are in build-fuzz/.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

targets() {
	(cd "$repo/tests/fuzz" && grep -l LLVMFuzzerTestOneInput -- *.c | sed 's/\.c$//')
}

if [ $# = 0 ]; then
	targets
	exit
fi
target=$1
seconds=${2:-60}
targets | grep -qxF "$target" || die "fuzz: no target $target; there are: $(targets | tr '\n' ' ')"
"$repo/scripts/build.sh" fuzz >&2
program=$(find "$repo/build-fuzz/tests/fuzz" "$repo/build-fuzz" -maxdepth 1 -type f -perm -u+x \
	\( -name "$target" -o -name "fuzz-$target" -o -name "fuzz_$target" \) | head -n 1)
[ -n "$program" ] || die "fuzz: the build made no program for $target"
corpus=$repo/build-fuzz/corpus/$target
mkdir -p "$corpus"
seeds=()
[ ! -d "$repo/tests/fuzz/seeds/$target" ] || seeds=("$repo/tests/fuzz/seeds/$target")
cd "$repo/build-fuzz"
exec "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
	-artifact_prefix="found-$target-" "$corpus" "${seeds[@]}"
