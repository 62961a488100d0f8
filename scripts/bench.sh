#!/usr/bin/env bash
# bench.sh [ARGUMENTS]: builds, and measures against QEMU by tests/bench/run, on
# this host's KVM where a stock kernel boots on it, otherwise in the lab. With
# --native, on this host's KVM in any case: the group "start" works on all.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

native=
if [ "${1:-}" = --native ]; then
	native=1
	shift
fi
case " $* " in
*' --help '* | *' -h '*) exec "$repo/tests/bench/run" --help ;;
esac

"$repo/scripts/build.sh" >&2
KERNEL=$("$repo/tests/images/kernel" 6.1)
ROOTFS=$("$repo/tests/images/image" test)
MICROVM=$repo/build/cli/microvm
export KERNEL ROOTFS MICROVM
if [ -n "$native" ]; then
	exec "$repo/tests/bench/run" "$@"
fi
memory=3G
case " $* " in
*' oci '*) memory=8G ;;
esac
on_kvm --no-input --memory "$memory" --timeout 3000 -- "$repo/tests/bench/run" "$@"
