# Sourced by run: guests that stay up and do one thing after the other when told so by
# their console. While one works the others rest, so programs are compared within
# seconds of each other.
# shellcheck shell=bash disable=SC2154,SC2034 # variables of run

declare -A session_pid session_in session_out

# What each guest runs: lines from the console, each answered with "bench-done".
session_text() {
	cat <<'TEXT'
exec 2>/dev/null
[ ! -c /dev/hvc0 ] || exec <>/dev/hvc0
stty -echo
echo bench-ready
while read -r line; do
	eval "$line"
	echo bench-done
done
TEXT
}

# session_wait WHO SECONDS WORD: reads the guest's lines up to WORD; what it said
# before is in the array said.
session_wait() {
	local line status end=$((SECONDS + $2))

	said=()
	while [ $SECONDS -lt $end ]; do
		status=0
		read -r -t 5 line <&"${session_out[$1]}" || status=$?
		if [ $status -gt 128 ]; then # nothing came; is there somebody to wait for?
			kill -0 "${session_pid[$1]}" 2>/dev/null || break
			continue
		fi
		[ $status = 0 ] || break
		line=${line%$'\r'}
		[[ $line != *"$3" ]] || return 0
		said+=("$line")
	done
	say "$1: no $3 from the guest: ${said[*]: -10}"
	tail -n 5 "$tmp/err-$1" >&2
	return 1
}

# session_start WHO WORDS [DISK|'' [TAP]]
session_start() {
	boot_command "$1" "microvm.quiet $2 microvm.sh=$(session_text | base64 -w0)" "${@:3}"
	session_begin "$1"
}

# session_begin WHO: starts command.
session_begin() {
	local who=$1 in out

	mkfifo "$tmp/in-$who" "$tmp/out-$who"
	exec {in}<>"$tmp/in-$who" {out}<>"$tmp/out-$who"
	session_in[$who]=$in session_out[$who]=$out
	"${command[@]}" <"$tmp/in-$who" >"$tmp/out-$who" 2>"$tmp/err-$who" {in}>&- {out}>&- &
	session_pid[$who]=$!
	session_wait "$who" 200 bench-ready
}

# session_ask WHO TEXT: the first line of the answer, on standard output's stead in answer.
session_ask() {
	echo "$2" >&"${session_in[$1]}"
	session_wait "$1" 120 bench-done && answer=${said[0]:-0}
}

session_stop() {
	local who in out

	for who in "${!session_pid[@]}"; do
		in=${session_in[$who]} out=${session_out[$who]}
		kill -KILL "${session_pid[$who]}" 2>/dev/null || true
		wait "${session_pid[$who]}" 2>/dev/null || true
		exec {in}>&- {out}>&-
		rm -f "$tmp/in-$who" "$tmp/out-$who"
	done
	session_pid=() session_in=() session_out=()
}
