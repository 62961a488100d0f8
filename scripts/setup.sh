#!/usr/bin/env bash
# setup.sh [VERB]: installs the packages of packages.txt that are missing (those
# for VERB only, when one is given). Takes a moment when there are none.
set -euo pipefail

verb=${1:-}
list=$(dirname "${BASH_SOURCE[0]}")/packages.txt
mapfile -t wanted < <(awk -v verb="$verb" '!/^#/ && NF && $2 == verb { print $1 }' "$list")
mapfile -t missing < <(
	dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' "${wanted[@]}" 2>/dev/null |
		sed -n 's/^ii *//p' | sort |
		comm -13 - <(printf '%s\n' "${wanted[@]}" | sort)
)
[ ${#missing[@]} -gt 0 ] || exit 0

echo "setup: installing ${missing[*]}"
if [ "$(id -u)" != 0 ]; then
	echo "setup: that needs root: sudo apt-get install ${missing[*]}" >&2
	exit 1
fi
install() {
	DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 \
		install --no-install-recommends "${missing[@]}" </dev/null
}
install || { apt-get -q update && install; }
