#!/usr/bin/env bash
# fmt.sh [--check]: lays out every C file as .clang-format says, or says which
# ones are not.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mapfile -t files < <(c_files)
cd "$repo"
case ${1:-} in
'') exec clang-format -i "${files[@]}" ;;
--check) exec clang-format --dry-run -Werror "${files[@]}" ;;
*) die "usage: ./dev fmt [--check]" ;;
esac
