# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The commands of env/guest-vm. State of guest NAME is in /run/vesper/NAME:
# pid, qmp.sock, agent.{in,out}, console (a link to the log). Sourced.

. "$VESPER_TOP/env/lib/guest-words.sh"
state=/run/vesper
# Where what is for guests has been built, if not here: for another kernel.
guest_top=${GUEST_TOP:-$VESPER_TOP}
# Kernels that look for errors are slow: so many times longer anything may take.
slow=${TIME_SCALE:-1}

fail() {
	echo "guest-vm: $1" >&2
	exit "${2:-2}"
}

# pid_of NAME: QEMU's, into PID. QEMU removes the file when it ends, and $(<file) of a file
# that is not there ends the shell. libvirt ends it without a new line, of which read
# complains.
pid_of() {
	PID=
	{ read -r PID <"$state/$1/pid" || [[ -n $PID ]]; } 2>/dev/null
}
running() { pid_of "$1" && kill -0 "$PID" 2>/dev/null; }
need_running() { running "$1" || fail "no guest '$1' is running" 125; }

guest_pid() { need_running "$1" && cat "$state/$1/pid"; }
guest_console() { readlink "$state/$1/console"; }
guest_list() {
	local dir
	for dir in "$state"/*/; do
		dir=${dir%/}
		if running "${dir##*/}"; then echo "${dir##*/}"; fi
	done
}

guest_start() {
	local name=${1:?no name} append='' smp=1 mem=512 domain='' options='' device=1 user='' bus=''
	local initramfs=$guest_top/build/guest.cpio kernel=$guest_top/build/guest.vmlinuz wait=180 dir log args=()
	local qemu=/opt/vesper/qemu
	shift
	# Unpacked, if there is such a one.
	[[ ! -e ${kernel%z}x ]] || kernel=${kernel%z}x
	while (($#)); do
		case $1 in
		--) shift; break ;;
		--no-device) device=; shift; continue ;;
		--hotplug)
			args+=(-device "pcie-root-port,id=socket") bus=,bus=socket
			shift
			continue
			;;
		--no-autoload) append+=" vesper.noauto"; shift; continue ;;
		--no-wait) wait=0; shift; continue ;;
		--append | --smp | --mem | --domain | --device-opts | --initramfs | --kernel | --user | --wait)
			(($# >= 2)) || fail "$1 needs a value" ;;
		*) fail "unknown option $1" ;;
		esac
		case $1 in
		--append) append+=" $2" ;;
		--smp) smp=$2 ;;
		--mem) mem=$2 ;;
		--domain) domain=$2 ;;
		--device-opts) options=,$2 ;;
		--initramfs) initramfs=$2 ;;
		--kernel) kernel=$2 ;;
		--user) user=$2 ;;
		--wait) wait=$2 ;;
		esac
		shift 2
	done
	[[ $name =~ ^[A-Za-z0-9_-][A-Za-z0-9_.-]*$ ]] || fail "'$name' is no name for a guest"
	! running "$name" || fail "guest '$name' is running already"
	[[ -e $initramfs ]] || fail "no initramfs $initramfs: run 'make guest' first"
	[[ -c /dev/kvm ]] || fail "no /dev/kvm here: run this inside the host VM (env/host-vm)"

	dir=$state/$name
	log=${VESPER_LOG:-/tmp}
	rm -rf "$dir"
	mkdir -p "$dir"
	# A second guest of that name must not overwrite the first one's console.
	local console=$log/$name-console.log n=1
	while [[ -e $console ]]; do
		n=$((n + 1))
		console=$log/$name-console.$n.log
	done
	: >"$console"
	ln -s "$console" "$dir/console"

	if [[ -n $device ]] && grep -q '"virtio-vesper-pci"' $qemu/devices; then
		args+=(-device "virtio-vesper-pci,id=vesper$bus${domain:+,domain=$domain}$options")
	fi
	if [[ -n $user ]]; then
		args+=(-run-with "user=$user")
		chmod 777 "$dir"
		chown "$user" "$dir" "$console"
	fi
	# Pipes and not a socket: a socket that no client is connected to looks to
	# the guest like a closed port, and its agent would have to poll.
	mkfifo "$dir/agent.in" "$dir/agent.out"
	# An emulated serial port costs an exit a byte: under nested emulation it
	# made booting four times slower, so the console is a virtio one. Devices
	# of the board that are of no use here only cost time to probe.
	setsid $qemu/qemu-system-x86_64 -name "$name" -nodefaults -no-user-config -display none \
		-L /usr/share/seabios -L /usr/share/qemu \
		-machine q35,hpet=off,smm=off,vmport=off,sata=off,smbus=off,i8042=off -accel kvm -cpu max -smp "$smp" -m "$mem" \
		-kernel "$kernel" -initrd "$initramfs" \
		-append "$guest_words vesper.name=$name$append" \
		-serial "file:$log/$name-serial.log" -pidfile "$dir/pid" \
		-qmp "unix:$dir/qmp.sock,server=on,wait=off" \
		-device virtio-serial-pci \
		-chardev "file,id=console,path=$console" -device virtconsole,chardev=console \
		-chardev "pipe,id=agent,path=$dir/agent" \
		-device virtserialport,chardev=agent,name=vesper.agent \
		"${args[@]}" "$@" </dev/null >"$log/$name-qemu.log" 2>&1 &
	local child=$!
	disown "$child"
	while [[ ! -S $dir/qmp.sock || ! -s $dir/pid ]]; do
		kill -0 "$child" 2>/dev/null || {
			cat "$log/$name-qemu.log" >&2
			fail "QEMU of guest '$name' did not start (log: $log/$name-qemu.log)" 125
		}
		sleep 0.1
	done
	((wait == 0)) || guest_wait "$name" "$wait"
}

guest_wait() {
	local name=$1 limit=${2:-180}
	guest_exec --timeout "$limit" "$name" true && return
	running "$name" || {
		cat "${VESPER_LOG:-/tmp}/$name-qemu.log" >&2
		fail "QEMU of guest '$name' ended; its console: $(guest_console "$name")" 125
	}
	fail "guest '$name' did not come up within $limit s; its console: $(guest_console "$name")" 124
}

# request NAME TIMEOUT ID COMMAND...: have COMMAND send the request; print the output of
# the reply with this ID and return its status. A process takes 20 ms in an emulated host
# VM, so there are few.
request() {
	local name=$1 limit=$2 id=$3 pid end mark reply status size
	shift 3
	# One request at a time.
	exec 8>"$state/$name/agent.lock"
	flock --timeout "$limit" 8 || return 124
	end=$((SECONDS + limit))
	pid_of "$name" || return 125
	pid=$PID
	# Opened for both, or it would wait for QEMU, which may have ended.
	exec 7<>"$state/$name/agent.out"
	"$@" 1<>"$state/$name/agent.in" || return
	while :; do
		((SECONDS < end)) || return 124
		if ! read -r -t 1 -u 7 mark reply status size; then
			kill -0 "$pid" 2>/dev/null || return 125
			continue
		fi
		# Answers to requests given up earlier may still come.
		[[ $mark == VESPER-REPLY && $reply == "$id" ]] || continue
		((size == 0)) || timeout $((end - SECONDS + 1)) head -c "$size" <&7 || return
		return "$status"
	done
}

guest_exec() {
	local limit=120 name id status=0 command
	if [[ $1 == --timeout ]]; then
		limit=$2
		shift 2
	fi
	limit=$((limit * slow))
	name=$1
	shift
	need_running "$name"
	id=$$.$RANDOM
	# One line, for the agent.
	command=$*
	request "$name" "$limit" "$id" printf 'RUN %s %s\n' "$id" "${command//$'\n'/$'\001'}" || status=$?
	((status != 125)) || running "$name" || echo "guest-vm: guest '$name' went away" >&2
	return "$status"
}

# put_file ID FILE PATH: the request, and then the file.
put_file() {
	printf 'PUT %s %s %s\n' "$1" "$(stat -L -c %s "$2")" "$3"
	timeout $((120 * slow)) cat "$2"
}

guest_put() {
	local name=$1 file=$2 path=$3 id=$$.$RANDOM
	need_running "$name"
	[[ -r $file ]] || fail "cannot read $file"
	request "$name" $((120 * slow)) "$id" put_file "$id" "$file" "$path"
}

guest_qmp() {
	need_running "$1"
	# The reader ends at the answer; events may come before it.
	# shellcheck disable=SC2016 # expanded by the inner shell
	timeout $((30 * slow)) bash -c '
		coproc SOCK { exec socat - "UNIX-CONNECT:$1"; }
		trap "kill -KILL $SOCK_PID" EXIT
		printf "%s\n" "{\"execute\": \"qmp_capabilities\"}" "${@:2}" >&"${SOCK[1]}"
		answers=0
		while read -r -u "${SOCK[0]}" line; do
			case $line in
			*\"QMP\":* | *\"event\":*) continue ;;
			esac
			answers=$((answers + 1))
			((answers > 1)) || continue
			printf "%s\n" "$line"
			[[ $line != *\"error\":* ]] || exit 1
			((answers <= $# - 1)) || exit 0
		done
		exit 125' qmp "$state/$1/qmp.sock" "${@:2}"
}

await_end() { # NAME SECONDS
	local tenths=$(($2 * 10))
	while running "$1"; do
		((tenths-- > 0)) || return 1
		sleep 0.1
	done
}

guest_stop() {
	local name
	if [[ $1 == --all ]]; then
		for name in $(guest_list); do guest_stop "$name"; done
		return
	fi
	running "$1" || return 0
	# No reply comes: the guest goes down at once.
	guest_exec --timeout 5 "$1" 'sync; poweroff -f' >/dev/null 2>&1 || true
	await_end "$1" $((20 * slow)) || guest_kill "$1"
}

guest_kill() {
	local name
	if [[ $1 == --all ]]; then
		for name in $(guest_list); do guest_kill "$name"; done
		return
	fi
	running "$1" || return 0
	# It may just be ending by itself.
	kill -KILL "$PID" 2>/dev/null || true
	await_end "$1" $((20 * slow)) || fail "QEMU of guest '$1' does not die"
}
