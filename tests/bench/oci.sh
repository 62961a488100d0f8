# Sourced by run: containers of podman's, with microvm-oci, crun and runc in turn. Image,
# storage, networks and configuration are of our own; nothing is downloaded.
# shellcheck shell=bash disable=SC2154 # variables of run

oci_whos=(ours crun runc)
oci_memory=1048576 # KiB of RAM of a machine for which nobody says how much (oci/vm.c)

# As rows() in rows.sh. Those without a peer stand for themselves.
oci_rows() {
	local who

	for who in crun runc; do
		cat <<-TABLE
			oci-none-$who|podman run --rm, no network, to $who|ms|less|0|ours|$who
			oci-bridge-$who|podman run --rm, bridge, to $who|ms|less|0|ours|$who
			oci-exec-$who|podman exec, to $who|ms|less|0|ours|$who
			oci-many-$who|$many at once until all have spoken, to $who|ms|less|0|ours|$who
			oci-group-$who|memory in the control group, to $who|KiB|less|0|ours|$who
		TABLE
	done
	cat <<-'TABLE'
		oci-vmm|- of it the VMM beyond guest RAM|KiB|less|0|ours|
		oci-guest|- of it guest RAM that was touched|KiB|less|0|ours|
	TABLE
}

# pod WORDS...: podman, with all its things in the folder $oci.
pod() {
	CONTAINERS_CONF=$oci/containers.conf TMPDIR=$oci/tmp podman --root "$oci/root" \
		--runroot "$oci/run" --storage-driver overlay "$@"
}

# with WHO WORDS...: podman with that runtime.
with() {
	local runtime=$1

	[ "$runtime" != ours ] || runtime=microvm-oci
	shift
	pod --runtime "$runtime" "$@"
}

# Only the machine's kernel is said; the rest is what podman does by itself.
begin_oci() {
	local who program tree=$tmp/oci-tree

	for program in podman conmon crun runc busybox; do
		command -v "$program" >/dev/null || {
			say "oci: $program is not installed"
			return 1
		}
	done
	mkdir -p "$oci/tmp" "$oci/networks" "$tree"/{usr/bin,bin,etc,proc,sys,dev,run,tmp}
	cat >"$oci/containers.conf" <<-END
		[containers]
		annotations = [ "microvm.kernel=$KERNEL/vmlinuz", "microvm.modules=$KERNEL/modules" ]
		log_driver = "k8s-file"
		[network]
		network_backend = "netavark"
		network_config_dir = "$oci/networks"
		[engine]
		cgroup_manager = "cgroupfs"
		events_logger = "none"
		runtime_supports_json = [ "microvm-oci", "crun", "runc" ]
		runtime_supports_kvm = [ "microvm-oci" ]
		[engine.runtimes]
		microvm-oci = [ "$build/oci/microvm-oci" ]
	END
	cp "$(command -v busybox)" "$tree/usr/bin/" # where its links go
	busybox --install -s "$tree/bin"
	tar -C "$tree" -c . | pod import -q - bench >/dev/null || return
	rm -rf "$tree"
	for who in "${oci_whos[@]}"; do # and what is made once is made
		with "$who" run --rm bench true || return
		with "$who" run -d --name "bench-$who" --network none bench sleep 100000 >/dev/null || return
	done
}

end_oci() {
	[ -e "$oci/containers.conf" ] || return 0
	pod rm -a -f -t 0 >/dev/null 2>&1 || true
	umount -R -l "$oci/root/overlay" 2>/dev/null || true # podman binds it on itself
	rm -rf "$oci" || true # figures are worth more
}

# note_oci ROW WHO PAIR FIGURE: ours stand in the rows of both peers.
note_oci() {
	if [ "$2" != ours ]; then
		note "$1-$2" "$2" "$3" "$4"
		return
	fi
	note "$1-crun" ours "$3" "$4"
	note "$1-runc" ours "$3" "$4"
}

# oci_time PAIR ROW TIMES WORDS...: what podman takes, from its start to its end.
oci_time() {
	local who begun i

	for who in "${oci_whos[@]}"; do
		begun=${EPOCHREALTIME/./}
		for ((i = 0; i < $3; i++)); do
			with "$who" "${@:4}" </dev/null >"$tmp/out" 2>"$tmp/err" || {
				say "failed with $who: podman ${*:4}" && tail -n 20 "$tmp/err" >&2
				return 1
			}
		done
		note_oci "$2" "$who" "$1" "$(((${EPOCHREALTIME/./} - begun) / 1000 / $3))"
	done
}

# oci_many PAIR WHO: so many started at the same moment; the end of the last one's word.
oci_many() {
	local begun i words pids=()

	rm -f "$tmp/words" && mkfifo "$tmp/words" && exec {words}<>"$tmp/words"
	begun=${EPOCHREALTIME/./}
	for ((i = 0; i < many; i++)); do
		with "$2" run --rm --network none --memory 128m bench echo word \
			</dev/null >"$tmp/words" 2>>"$tmp/err" {words}>&- &
		pids+=($!)
	done
	for ((i = 0; i < many; i++)); do
		read -r -t 600 -u "$words" _ || break
	done
	note_oci oci-many "$2" "$1" "$(((${EPOCHREALTIME/./} - begun) / 1000))"
	exec {words}>&-
	wait "${pids[@]}" && [ "$i" = "$many" ] && return
	say "failed with $2: $many at once" && tail -n 20 "$tmp/err" >&2
	return 1
}

# A container that rests: what its control group is charged with, and what the machine has of it.
oci_memory() {
	local who pid group

	for who in "${oci_whos[@]}"; do
		pid=$(pod inspect -f '{{.State.Pid}}' "bench-$who") || return
		group=/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$pid/cgroup")
		note_oci oci-group "$who" "$1" "$(($(<"$group/memory.current") / 1024))"
		[ "$who" = ours ] || continue
		awk -v ram="$oci_memory" -v pair="$1" '/^Size:/ { guest = $2 == ram }
			/^Rss:/ { rss[guest] += $2 }
			END { print "oci-vmm ours", pair, rss[0]; print "oci-guest ours", pair, rss[1] }' \
			"/proc/$pid/smaps" >"$tmp/out"
		while read -r -a figure; do
			note "${figure[@]}"
		done <"$tmp/out"
	done
}

pair_oci() {
	local who

	oci_memory "$1" && oci_time "$1" oci-none 1 run --rm --network none bench true &&
		oci_time "$1" oci-bridge 1 run --rm bench true || return
	for who in "${oci_whos[@]}"; do
		oci_exec "$1" "$who" || return
	done
	for who in "${oci_whos[@]}"; do
		oci_many "$1" "$who" || return
	done
}

# oci_exec PAIR WHO: the mean of three.
oci_exec() {
	local begun=${EPOCHREALTIME/./} i

	for i in 1 2 3; do
		with "$2" exec "bench-$2" true </dev/null || return
	done
	note_oci oci-exec "$2" "$1" "$(((${EPOCHREALTIME/./} - begun) / 3000))"
}
