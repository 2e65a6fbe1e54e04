# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The black box: rounds in which a guest of three CPUs streams numbered records
# and something befalls it at a random moment. What must then be readable on the
# host says the ledger, which the writer keeps beside VESPER, in memory of the
# guest that is a file on the host and that no kernel or firmware touches
# (selftests/modules/vesper_seq/ledger.h). Each CPU's file has its own kind of
# reader:
#
#	open    opened before, poll() and read()
#	mapped  mapped before, the position ioctls
#	after   opened when the other two have ended; nobody read before
#
# Sourced by the tests instead of lib/vesper.sh. SEED decides what is chance;
# it is printed, and the same one makes the same choices.
#
# shellcheck disable=SC2317 # much is called by its name in a variable
# shellcheck disable=SC2119,SC2120 # tests call blackbox_start with options

GUEST=blackbox
. lib/vesper.sh
. lib/kernel_log.sh

SEED=${SEED:-$SRANDOM}
RANDOM=$SEED
LEDGER=/dev/shm/vesper-$GUEST.ledger
LEDGER_AT=0x10000000	# 256 MiB: between the two parts of the guest's RAM
CPUS=3
ROUND=0

# A number from LOW to HIGH, in N.
pick() { # LOW HIGH
	N=$(($1 + (RANDOM * 32768 + RANDOM) % ($2 - $1 + 1)))
}

guest_cli() { "$TOP/env/guest-vm" "$@"; }

# The guest, whatever has been done to it before.
blackbox_up() {
	if guest_cli pid "$GUEST" >/dev/null 2>&1; then
		guest_cli wait "$GUEST" 180 || fail "the guest does not come back"
	else
		blackbox_start
	fi
}

blackbox_start() { # [OPTIONS OF guest-vm start]
	guest_start "$GUEST" --smp $CPUS --append "numa=off memmap=8M\$256M" "$@" -- \
		-object memory-backend-ram,id=low,size=256M \
		-object "memory-backend-file,id=ledger,size=8M,mem-path=$LEDGER,share=on" \
		-object memory-backend-ram,id=high,size=248M \
		-numa node,memdev=low -numa node,memdev=ledger -numa node,memdev=high || {
		# Where it stands, if it never came to say anything.
		guest_qmp "$GUEST" '{"execute":"human-monitor-command","arguments":{"command-line":"info registers -a"}}' |
			grep -oE 'CPU#[0-9]+|R[IS]P=[0-9a-f]+|HLT=[01]' | paste -sd ' '
		fail "cannot start the guest"
	}
}

# Leaves no guest and nothing unread.
blackbox_end() {
	local status=$? reader
	for reader in $(jobs -p); do kill -KILL "$reader"; done
	# A guest in which a test failed is of no use to the next.
	((status == 0)) || guest_cli kill "$GUEST"
	find "$RELAY" -path "$RELAY/$GUEST*" -type f -exec cat {} + >/dev/null 2>&1
	return $status
}
trap blackbox_end EXIT

ledger() { # FIELD CPU
	black_box ledger "$1" "$LEDGER" "$2"
}

seen() { # READER
	black_box seen "$dir/$1" 2>/dev/null
}

has_seen() { # READER COUNT
	local count
	count=$(seen "$1") && ((count >= $2))
}

streaming() {
	local cpu
	for ((cpu = 0; cpu < CPUS; cpu++)); do
		(($(ledger written $cpu) > 0)) || return 1
	done
}

reader_start() { # READER DIRECTORY
	local way=read
	[[ $1 != mapped ]] || way=map
	# Who comes afterwards may map as well.
	[[ $1 != after ]] || way=$after_way
	pick 0 1000000
	black_box "$way" "$2/cpu${cpu_of[$1]}" "${cpu_of[$1]}" "$dir/$1" "$N" "$mode" &
	pid_of[$1]=$!
}

reader_end() { # READER
	local status=0
	wait "${pid_of[$1]}" || status=$?
	((status != 142)) || fail "$fault/$1: no end of file"
	((status == 0)) || fail "$fault/$1: the reader ended with $status"
}

vmm_gone() { ! guest_cli pid "$GUEST"; }

# The directory of what is left behind: where it was, if nobody took the name.
left_behind() {
	echo "$RELAY/$GUEST/vesper_seq"
}

# ---- what befalls the guest -------------------------------------------------

# For what kills the agent, too: it answers before it happens.
guest_soon() { # COMMAND
	guest_exec "$GUEST" "(sleep 0.1; $1) &" || fail "the guest does not listen"
}

befall_unload() { unload vesper_seq; }
befall_reset() { guest_qmp "$GUEST" '{"execute":"system_reset"}' >/dev/null; }
befall_shutdown() { guest_soon "poweroff -f"; }
befall_quit() { guest_qmp "$GUEST" '{"execute":"quit"}' >/dev/null; }
befall_kill() { guest_cli kill "$GUEST"; }

befall_panic_reboot() {
	panic_expected
	guest_soon "echo 1 >/proc/sys/kernel/panic; echo c >/proc/sysrq-trigger"
}

# With PREEMPT_RT a thread prints, which does not get to it any more.
panic_expected() {
	PANICS=1
	[[ $(guest_exec "$GUEST" "uname -v") != *PREEMPT_RT* ]] || PANICS='*'
	printf "# kernel-log: $GUEST $PANICS %s\n" '[0-9]] Kernel panic - not syncing: sysrq triggered crash' \
		'Call Trace:' >>"$dir/declared"
}

panic_seen() { # CONSOLE
	grep -q 'end Kernel panic' "$1" ||
		{ [[ $PANICS == '*' ]] && dmesg | tail -n 5 | grep -q "$GUEST: says that it panics"; }
}

# All that there is can be read while the guest hangs, which still takes interrupts
# and refuses to record them.
befall_panic() {
	local reader console
	late=late
	console=$(guest_console "$GUEST")
	panic_expected
	echo "# kernel-log: $GUEST $PANICS end Kernel panic - not syncing" >>"$dir/declared"
	guest_soon "echo 0 >/proc/sys/kernel/panic; echo c >/proc/sysrq-trigger"
	wait_for 60 "the panic" panic_seen "$console"
	reader_start after "$(left_behind)"
	for reader in open mapped after; do
		wait_for 60 "$reader to see all that was written before the panic" \
			has_seen $reader "$(ledger written "${cpu_of[$reader]}")"
	done
	guest_qmp "$GUEST" '{"execute":"quit"}' >/dev/null
}

# ---- a round ----------------------------------------------------------------

# Something of a FAULT happens in the middle of streaming. Settings of the probe
# are chance unless they are given. With STALL=1 the readers sleep meanwhile,
# wherever they are.
blackbox_round() { # FAULT [PARAM=VALUE...]
	local fault=$1 label dir reader cpu status=0 subbuf_size len orders order delay mark
	local ways after_way mode=keep late=
	local -A cpu_of=() pid_of=()
	shift

	ROUND=$((ROUND + 1))
	dir=$VESPER_WORK/$ROUND.$fault
	mkdir "$dir"
	: >"$dir/declared"
	pick 0 3; subbuf_size=$((4096 << N))
	pick 0 200; len=$N
	pick 2 6; rate=$N
	pick 300 3000; delay=$N
	orders=("open mapped after" "open after mapped" "mapped open after"
		"mapped after open" "after open mapped" "after mapped open")
	pick 0 5; read -ra order <<<"${orders[N]}"
	ways=(read map)
	pick 0 1; after_way=${ways[N]}
	for cpu in 0 1 2; do cpu_of[${order[cpu]}]=$cpu; done

	blackbox_up
	# The timer closes no sub-buffer: one is open nearly always when it happens.
	local params=("subbuf_size=$subbuf_size" "n_subbufs=$(((2 << 20) / subbuf_size))"
		"len=$len" "rate=$rate" switch_ms=600000 "$@")
	[[ " $* " != *" overwrite=1 "* ]] || mode=overwrite
	note "round $ROUND: $fault after $delay ms of: ${params[*]}; CPU 0 to 2: ${order[*]} (by $after_way)${STALL:+; readers asleep}"
	mark=$(kernel_log_mark "$(guest_console "$GUEST")")
	load_seq "ledger=$LEDGER_AT" "${params[@]}"
	for reader in open mapped; do reader_start $reader "$RELAY/$GUEST/vesper_seq"; done
	wait_for 60 "the readers' first records" has_seen open 1
	wait_for 60 "the readers' first records" has_seen mapped 1
	wait_for 60 "records on each CPU" streaming
	sleep "$((delay / 1000)).$(printf %03d $((delay % 1000)))"

	[[ -z ${STALL:-} ]] || kill -STOP "${pid_of[open]}" "${pid_of[mapped]}"
	"befall_$fault"
	[[ -z ${STALL:-} ]] || { sleep 2 && kill -CONT "${pid_of[open]}" "${pid_of[mapped]}"; }
	for reader in open mapped; do reader_end $reader; done
	case $fault in
	kill | quit | shutdown | panic | stopped) wait_for 60 "the end of QEMU" vmm_gone ;;
	esac
	# Whatever is written from here on is written too late.
	cp "$LEDGER" "$dir/ledger"
	"${BETWEEN:-true}"
	[[ -n ${pid_of[after]:-} ]] || reader_start after "$(left_behind)"
	reader_end after
	cmp -n $((CPUS * 65536)) "$LEDGER" "$dir/ledger" || fail "$fault: the guest wrote after the end of file"

	label=$fault
	[[ $mode == keep ]] || label+="($mode)"
	for reader in open mapped after; do
		# shellcheck disable=SC2086 # none or one
		black_box account "$label/$reader" "$dir/$reader" "$dir/ledger" "${cpu_of[$reader]}" $late ||
			status=1
	done
	kernel_log_scan "$GUEST" "$(guest_console "$GUEST")" "$mark" "$dir/declared" ||
		status=1
	((status == 0)) || fail "$fault: see above; SEED=$SEED"
	forgotten
}

# Nobody reads until it has happened and the guest is gone; then a recorder takes all
# there is. Its trace is one that babeltrace2 has nothing to say against, with every
# record that the ledger has, and one more at the most; of a panic, its last words.
blackbox_recorded() { # FAULT
	local fault=$1 dir cpu mark wanted=() console
	ROUND=$((ROUND + 1))
	dir=$VESPER_WORK/$ROUND.$fault.recorded
	mkdir "$dir"
	: >"$dir/declared"
	blackbox_up
	console=$(guest_console "$GUEST")
	mark=$(kernel_log_mark "$console")
	# Room for what nobody reads.
	load_seq "ledger=$LEDGER_AT" subbuf_size=16384 n_subbufs=128 len=64 rate=3 switch_ms=600000
	wait_for 60 "records on each CPU" streaming
	pick 200 1500
	sleep "$((N / 1000)).$(printf %03d $((N % 1000)))"
	case $fault in
	panic)
		panic_expected
		echo "# kernel-log: $GUEST $PANICS end Kernel panic - not syncing" >>"$dir/declared"
		vesper load "$GUEST" panic || fail "cannot load the group panic"
		guest_soon "echo 0 >/proc/sys/kernel/panic; echo c >/proc/sysrq-trigger"
		wait_for 60 "the panic" panic_seen "$console"
		befall_kill
		;;
	*) "befall_$fault" ;;
	esac
	wait_for 60 "the end of QEMU" vmm_gone

	vesper record "$GUEST/vesper_seq" -o "$dir/trace" >"$dir/record.log" 2>&1 ||
		fail "$fault: the recorder: $(<"$dir/record.log")"
	for ((cpu = 0; cpu < CPUS; cpu++)); do wanted+=("$cpu=$(ledger written "$cpu")+"); done
	babeltrace2 "$dir/trace" >"$dir/text" 2>"$dir/err" || fail "$fault: babeltrace2: $(<"$dir/err")"
	[[ ! -s $dir/err ]] || fail "$fault: babeltrace2 warns: $(head -n 5 "$dir/err")"
	seq_check "${wanted[@]}" <"$dir/text" >"$dir/checked" || fail "$fault: the trace is not whole"
	sed "s/^/blackbox: $fault, recorded afterwards: /" "$dir/checked"
	for ((cpu = 0; cpu < CPUS; cpu++)); do
		N=$(sed -n "s/^CPU $cpu: \([0-9]*\) records.*/\1/p" "$dir/checked")
		((N <= $(ledger written "$cpu") + 1)) || fail "$fault: CPU $cpu has more records than were written"
	done
	[[ $fault != panic ]] || last_words
	kernel_log_scan "$GUEST" "$(guest_console "$GUEST")" "$mark" "$dir/declared" ||
		fail "$fault: see above; SEED=$SEED"
}

# What a kernel that is gone had to say of its end: the record of the group panic, which
# nobody had read.
last_words() {
	vesper record "$GUEST/panic" -o "$dir/words" >"$dir/words.log" 2>&1 ||
		fail "$fault: the recorder: $(<"$dir/words.log")"
	babeltrace2 "$dir/words" >"$dir/text" 2>"$dir/err" || fail "$fault: babeltrace2: $(<"$dir/err")"
	[[ ! -s $dir/err ]] || fail "$fault: babeltrace2 warns: $(head -n 5 "$dir/err")"
	expect_eq "records of the panic" "$(grep -c ' panic: ' "$dir/text")" 1
	expect_match "its message" "$(<"$dir/text")" 'message = "sysrq triggered crash'
	expect_match "its last words" "$(<"$dir/text")" 'last_words = ".*Trigger a crash'
	note "blackbox: $fault: the last words were there, $(wc -c <"$dir/text") bytes of text"
}

# All was read but the metadata, which are of use to whoever has the rest: when
# they have been, too, nothing of it is left.
forgotten() {
	local left
	left=$(left_behind)
	[[ $(cat "$left/metadata") == *'name = "seq"'* ]] || fail "$fault: the metadata are gone"
	gone() { [[ ! -e $left ]]; }
	wait_for 20 "what was drained to go" gone
}

note_seed "$SEED"
