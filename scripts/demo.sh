#!/usr/bin/env bash
# demo.sh: boots a stock Debian kernel on a small image with microvm, and shows
# what the guest says about its machine, and its exit status. Takes microvm's
# options, too: ./dev demo --cpus 4
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$repo/scripts/build.sh" >&2
kernel=$("$repo/tests/images/kernel" 6.1)
image=$("$repo/tests/images/image" test)
command=("$repo/build/cli/microvm" run --kernel "$kernel/vmlinuz" --modules "$kernel/modules"
	--rootfs "$image,ro" --cpus 2 --memory 512M --net user
	--append "microvm.demo microvm.ip=dhcp" "$@")

if has_kvm; then
	echo "This machine runs it on its own KVM:"
else
	echo "This machine's processor offers no virtualization: the same in the lab, an emulated host (./dev lab)."
fi
echo
printf '%s ' '$' "${command[@]}"
echo
status=0
on_kvm --no-input --timeout 300 -- "${command[@]}" </dev/null || status=$?
echo
echo "exit status $status"
exit "$status"
