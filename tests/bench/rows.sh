# Sourced by run: what is measured. Each function measures one pair of some rows, and
# notes every figure as
#	ROW WHO PAIR FIGURE
# shellcheck shell=bash disable=SC2154 # variables of run

# ROW | what it says | unit | is less or more better | our floor | whose is it | against whom
# (against the better one of those after a comma; a floor of 0: for information)
rows() {
	cat <<'TABLE'
start|start to first guest instruction|ms|less|3|ours|qemu
firmware|- to the very first, of a firmware|ms|less|3|ours|firmware
start-cpu|- processor time of such a life|ms|less|1|ours|qemu
init|start to guest init|ms|less|1|ours|qemu
init-auto|- making the initramfs, too|ms|less|1|auto|qemu
init-cpu|- processor time until then|ms|less|0|ours|qemu
memory|resident beyond guest RAM|KiB|less|1|ours|qemu
randread-1|random read, 4 KiB, depth 1|IOPS|more|1|ours|qemu,threads
randread-32|random read, 4 KiB, depth 32|IOPS|more|1|ours|qemu,threads
randwrite-1|random write, 4 KiB, depth 1|IOPS|more|1|ours|qemu,threads
randwrite-32|random write, 4 KiB, depth 32|IOPS|more|1|ours|qemu,threads
read|sequential read, 128 KiB, depth 4|MiB/s|more|1|ours|qemu,threads
write|sequential write, 128 KiB, depth 4|MiB/s|more|1|ours|qemu,threads
tcp-out|TCP, guest to host|Mbit/s|more|1|ours|qemu
tcp-in|TCP, host to guest|Mbit/s|more|1|ours|qemu
rtt|round trip (ping)|us|less|1|ours|qemu
tcp-out-vhost|TCP, guest to host, against vhost|Mbit/s|more|0|ours|vhost
tcp-in-vhost|TCP, host to guest, against vhost|Mbit/s|more|0|ours|vhost
rtt-vhost|round trip, against vhost|us|less|0|ours|vhost
job|job: start to the command's first output|ms|less|2|ours|qemu
job-whole|job: `true` from start to end, in a row|ms|less|1|ours|qemu
fs-read-1|shared file, random read 4 KiB, depth 1|IOPS|more|1|ours|qemu
fs-read-32|shared file, random read 4 KiB, depth 32|IOPS|more|1|ours|qemu
fs-cached|shared file, 4 KiB through the page cache|IOPS|more|1|ours|qemu
walk-cold|find of shared files, guest caches empty|ms|less|1|ours|qemu
walk-warm|- again|ms|less|1|ours|qemu
git-cold|git status of those, guest caches empty|ms|less|1|ours|qemu
git-warm|- again|ms|less|1|ours|qemu
TABLE
}

note() {
	echo "$1 $2 $3 $4" >>"$figures"
	[ -z "$raw" ] || say "$1 $2 $3 $4"
}

# ---- process start to the first guest instruction ----

pair_start() {
	local who

	for who in ours qemu firmware; do
		start_command "$who"
		measure 60 || return
		case $who in
		ours)
			note start "$who" "$1" "${numbers[0]}"
			note firmware "$who" "$1" "${numbers[0]}"
			note start-cpu "$who" "$1" "${numbers[1]}"
			;;
		qemu)
			note start "$who" "$1" "${numbers[0]}"
			note start-cpu "$who" "$1" "${numbers[1]}"
			;;
		firmware) note firmware "$who" "$1" "${numbers[0]}" ;;
		esac
	done
}

# ---- process start to guest init (the first line of the image's init), and memory ----

pair_init() {
	local who text

	text=$(echo 'echo bench-init; sleep 1000' | base64 -w0)
	for who in ours auto qemu; do
		boot_command "$who" "microvm.quiet microvm.sh=$text"
		measure 200 -u bench-init -r $((memory << 20)) || return
		if [ "$who" = auto ]; then
			note init-auto auto "$1" "${numbers[0]}"
			continue
		fi
		note init "$who" "$1" "${numbers[0]}"
		[ "$who" = ours ] || note init-auto "$who" "$1" "${numbers[0]}"
		note init-cpu "$who" "$1" "${numbers[1]}"
		note memory "$who" "$1" "${numbers[3]}"
	done
}

# ---- disks: fio in the guest, on a second disk in the page cache ----

disk_whos=(ours qemu threads)

begin_disk() {
	local who

	for who in "${disk_whos[@]}"; do
		dd if=/dev/urandom of="$disk-$who" bs=1M count="$disk_mib" conv=fsync status=none
		session_start "$who" '' "$disk-$who" || return
		# The disk is told from the root by its size.
		session_ask "$who" "for d in /sys/block/vd*; do [ \"\$(cat \$d/size)\" != $((disk_mib * 2048)) ] || disk=/dev/\${d##*/}; done" || return
	done
}

# disk_job PAIR ROW FIELD FIO-OPTIONS: fio's terse format 3 has KiB/s in the fields 7 and
# 48, IOPS in 8 and 49, of reads and writes.
disk_job() {
	local who pair=$1 row=$2 field=$3 text

	text="fio --name=x --filename=\$disk --direct=1 --ioengine=libaio --time_based"
	text+=" --runtime=$seconds --gtod_reduce=1 --minimal ${*:4} | cut -d';' -f$field"
	for who in "${disk_whos[@]}"; do
		session_ask "$who" "$text" || return
		case $row in
		read | write) answer=$((answer / 1024)) ;;
		esac
		note "$row" "$who" "$pair" "$answer"
	done
}

pair_disk() {
	disk_job "$1" randread-1 8 --rw=randread --bs=4k --iodepth=1 &&
		disk_job "$1" randread-32 8 --rw=randread --bs=4k --iodepth=32 &&
		disk_job "$1" randwrite-1 49 --rw=randwrite --bs=4k --iodepth=1 &&
		disk_job "$1" randwrite-32 49 --rw=randwrite --bs=4k --iodepth=32 &&
		disk_job "$1" read 7 --rw=read --bs=128k --iodepth=4 &&
		disk_job "$1" write 48 --rw=write --bs=128k --iodepth=4
}

# ---- network: a tap for each guest, iperf3 and ping ----

net_whos=(ours qemu vhost)
net_taps=()
declare -A net_host

begin_net() {
	local who tap i=0

	for who in "${net_whos[@]}"; do
		tap=mvbench$i$((BASHPID % 10000))
		net_host[$who]=10.213.7.$((4 * i + 1))
		if ! ip tuntap add dev "$tap" mode tap 2>/dev/null; then
			say "net: cannot make a tap (it takes root)"
			return 1
		fi
		net_taps+=("$tap")
		ip addr add "${net_host[$who]}/30" dev "$tap"
		ip link set "$tap" up
		session_start "$who" "microvm.ip=10.213.7.$((4 * i + 2))/30" '' "$tap" || return
		session_ask "$who" "ping -c 1 -W 9 -q ${net_host[$who]} >/dev/null" || return
		i=$((i + 1))
	done
	iperf3 -s -p "$port" >"$tmp/iperf" 2>&1 &
	iperf=$!
}

end_net() {
	local tap

	[ -z "${iperf:-}" ] || kill "$iperf" 2>/dev/null || true
	for tap in "${net_taps[@]}"; do
		ip link delete "$tap" || true
	done
	net_taps=()
}

# net_job PAIR ROW TEXT: HOST stands for the address of the host's end.
net_job() {
	local who row

	for who in "${net_whos[@]}"; do
		session_ask "$who" "${3//HOST/${net_host[$who]}}" || return
		case $who in
		ours) note "$2-vhost" ours "$1" "$answer" && note "$2" ours "$1" "$answer" ;;
		vhost) note "$2-vhost" vhost "$1" "$answer" ;;
		*) note "$2" "$who" "$1" "$answer" ;;
		esac
	done
}

pair_net() {
	local iperf="iperf3 -c HOST -p $port -t $seconds -f m"
	local field="awk '/receiver/ { print \$(NF - 2) }'"

	net_job "$1" tcp-out "$iperf | $field" &&
		net_job "$1" tcp-in "$iperf -R | $field" &&
		net_job "$1" rtt "ping -q -i 0 -c 2000 HOST | awk -F/ '/^rtt/ { print \$5 * 1000 }'"
}

# ---- jobs: a command with a directory as root ----

job_whos=(ours qemu)

# The test image's files with git beside them, and a repository: 400 files in 100 folders.
make_tree() {
	local i

	mkdir -p "$tree" "$tmp/mnt"
	debugfs -R "rdump / $tree" "$ROOTFS" 2>/dev/null
	{
		command -v git
		ldd "$(command -v git)" | grep -o '/[^ ]*\.so[^ ]*'
	} | while read -r i; do
		mkdir -p "$tree/${i%/*}"
		cp -L "$i" "$tree/$i"
	done
	dd if=/dev/urandom of="$tree/file" bs=1M count=64 status=none
	mkdir -p "$tree/data/"{0..9}/{0..9}
	for ((i = 0; i < 400; i++)); do
		echo "file number $i" >"$tree/data/$((i % 10))/$((i / 10 % 10))/file-$i.txt"
	done
	git -C "$tree/data" init -q
	git -C "$tree/data" add -A
	git -C "$tree/data" -c user.name=bench -c user.email=bench@localhost commit -q -m all
}

begin_job() {
	local who

	[ -x "$virtiofsd" ] || {
		say "job: no $virtiofsd (Debian: qemu-system-common)"
		return 1
	}
	make_tree
	make_peer
	session_text >"$tree/session"
	for who in "${job_whos[@]}"; do
		job_command "$who" "$tree" "--keep -i" /bin/sh /session
		session_begin "$who" || return
		session_ask "$who" 'mount -t proc proc /proc; export HOME=/ PATH=/usr/sbin:/usr/bin:/sbin:/bin' &&
			session_ask "$who" 'git config --global --add safe.directory /data; cd /data && git status >/dev/null; cd /' || return
	done
}

# job_files PAIR ROW TEXT: milliseconds that the text takes.
job_files() {
	local who begun

	for who in "${job_whos[@]}"; do
		[[ $2 != *-cold ]] || session_ask "$who" 'echo 3 >/proc/sys/vm/drop_caches' || return
		begun=${EPOCHREALTIME/./}
		session_ask "$who" "$3 >/dev/null" || return
		note "$2" "$who" "$1" "$(((${EPOCHREALTIME/./} - begun) / 1000))"
	done
}

job_fio() {
	local who text

	text="fio --name=x --filename=/file --readonly --rw=randread --bs=4k --time_based"
	text+=" --runtime=$seconds --gtod_reduce=1 --minimal ${*:3} | cut -d';' -f8"
	for who in "${job_whos[@]}"; do
		session_ask "$who" "$text" || return
		note "$2" "$who" "$1" "$answer"
	done
}

# job_row PAIR: so many in a row, each from its start to its end.
job_row() {
	local who i begun

	for who in "${job_whos[@]}"; do
		job_command "$who" "$tree" '' /bin/true
		begun=${EPOCHREALTIME/./}
		for ((i = 0; i < jobs; i++)); do
			"${command[@]}" </dev/null >"$tmp/out" 2>"$tmp/err" || {
				say "failed: ${command[*]}" && tail -n 20 "$tmp/out" "$tmp/err" >&2
				return 1
			}
		done
		note job-whole "$who" "$1" "$(((${EPOCHREALTIME/./} - begun) / 1000 / jobs))"
	done
}

pair_job() {
	local who find='find /data -type f -size +1000k' git='git -C /data status --porcelain'

	job_files "$1" walk-cold "$find" && job_files "$1" walk-warm "$find" &&
		job_files "$1" git-cold "$git" && job_files "$1" git-warm "$git" &&
		job_fio "$1" fs-read-1 --direct=1 --ioengine=psync &&
		job_fio "$1" fs-read-32 --direct=1 --ioengine=libaio --iodepth=32 &&
		job_fio "$1" fs-cached --direct=0 --ioengine=psync || return
	for who in "${job_whos[@]}"; do
		job_command "$who" "$tree" '' /bin/echo bench-job
		measure 200 -u bench-job || return
		note job "$who" "$1" "${numbers[0]}"
	done
	job_row "$1"
}
