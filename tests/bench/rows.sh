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
TABLE
}

note() {
	echo "$1 $2 $3 $4" >>"$figures"
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
