#!/usr/bin/env bash
# bench.sh [ARGUMENTS]: builds, and measures against QEMU by tests/bench/run, on
# this host's KVM where a stock kernel boots on it, otherwise in the lab.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$repo/scripts/build.sh" >&2
KERNEL=$("$repo/tests/images/kernel" 6.1)
SMALL=$("$repo/tests/images/kernel" small --if-built)
ROOTFS=$("$repo/tests/images/image" test)
export MICROVM=$repo/build/cli/microvm KERNEL SMALL ROOTFS
on_kvm --no-input --timeout 3000 -- "$repo/tests/bench/run" "$@"
