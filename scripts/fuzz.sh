#!/usr/bin/env bash
# fuzz.sh [TARGET [SECONDS]]: runs the libFuzzer target tests/fuzz/fuzz_TARGET.c,
# from the seeds in tests/fuzz/seeds/fuzz_TARGET/; without a target, lists them.
# What it finds and the corpus it grows are in build-fuzz/.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

targets() {
	find "$repo/tests/fuzz" -name 'fuzz_*.c' | sed 's|.*/fuzz_||; s|\.c$||' | sort
}

if [ $# = 0 ]; then
	targets
	exit
fi
target=${1#fuzz_}
seconds=${2:-60}
targets | grep -qxF "$target" || die "fuzz: no target $target; there are: $(targets | tr '\n' ' ')"
[ -n "${FUZZ_BUILT:-}" ] || "$repo/scripts/build.sh" fuzz >&2
corpus=$repo/build-fuzz/corpus/$target
mkdir -p "$corpus"
seeds=()
[ ! -d "$repo/tests/fuzz/seeds/fuzz_$target" ] || seeds=("$repo/tests/fuzz/seeds/fuzz_$target")
cd "$repo/build-fuzz"
exec "tests/fuzz/fuzz_$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
	-artifact_prefix="found-$target-" "$corpus" "${seeds[@]}"
