#!/usr/bin/env bash
# check.sh [NAME...]: checks of the text of the tree. Without a name, lists them.
# Each prints what is wrong and returns non-zero, or 77 where there is nothing to
# check yet.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$repo"

# Includes go by scripts/includes.txt.
check_includes() {
	local bad=0 file folder header allowed

	while IFS=: read -r file header; do
		folder=${file%%/*}
		allowed=$(sed -n "s/^$folder:/ /p" scripts/includes.txt)
		if ! grep -q "^$folder:" scripts/includes.txt; then
			[ "$folder" = tests ] || { echo "$file: folder $folder is not in scripts/includes.txt"; bad=1; }
		elif [ "$folder" != "${header%%/*}" ] && [[ "$allowed " != *" ${header%%/*} "* ]]; then
			echo "$file: includes $header, but $folder may include only:$allowed"
			bad=1
		fi
	done < <(c_files | xargs grep -oE '^#include "[^"/]+/[^"]+"' | sed 's/#include "\(.*\)"/\1/')
	return $bad
}

check_format() {
	scripts/fmt.sh --check
}

check_shellcheck() {
	local files

	mapfile -t files < <(script_files | grep -v '\.bats$')
	shellcheck -x -P SCRIPTDIR -e SC1090,SC1091 "${files[@]}"
}

check_manpages() {
	local pages

	mapfile -t pages < <(find docs -name '*.[1-8]')
	[ ${#pages[@]} -gt 0 ] || return 77
	mandoc -T lint -W warning "${pages[@]}"
}

# Files under about 500 lines (tests may be longer): a longer one is two things.
check_length() {
	local bad=0 lines file limit

	while read -r lines file; do
		limit=600
		[[ $file != tests/* ]] || limit=1000
		if [ "$file" != total ] && [ "$lines" -gt "$limit" ]; then
			echo "$file has $lines lines; find the two things in it"
			bad=1
		fi
	done < <({ c_files; script_files; } | sort -u | xargs wc -l)
	return $bad
}

names() {
	declare -F | sed -n 's/^declare -f check_//p'
}

[ $# -gt 0 ] || names
for name; do
	declare -F "check_$name" >/dev/null || die "check: no check $name"
	"check_$name"
done
