#!/usr/bin/env bash
# clean.sh [--all]: removes the build folders; with --all also the cache of
# kernels, images and frozen labs.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

for folder in "$repo"/build "$repo"/build-{asan,tsan,fuzz}; do
	rm -rf "$folder"
done
[ "${1:-}" != --all ] || rm -rf "$cache"
