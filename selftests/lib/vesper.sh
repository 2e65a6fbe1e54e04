# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What tests of the whole are made of: a host with vesper_host.ko, guests, the
# vesper tool, relay files, and ways to say what is expected. Sourced by the
# runner and by each test, in the host VM, with selftests/ as the directory.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PATH=$TOP/build/bin:$TOP/selftests/tools:$PATH
# Where host modules and what is for guests were built: elsewhere if for a kernel
# that is not the other side's.
HOST_TOP=${HOST_TOP:-$TOP}
export GUEST_TOP=${GUEST_TOP:-$TOP}
# Where `vesper load` finds groups: those that were built for the guest's kernel.
export VESPER_PROBES=${VESPER_PROBES:-$GUEST_TOP/probes}
RELAY=/sys/kernel/debug/vesper
GUEST=${GUEST:-web1}
# A directory of the test's own, which the runner made and removes.
: "${VESPER_WORK:=$(mktemp -d)}"

# ---- saying what is expected ------------------------------------------------

note() { echo "$*"; }

fail() {
	echo "FAIL: $*"
	exit 1
}

skip() {
	echo "SKIP: $*"
	exit 4
}

expect_eq() { # WHAT GOT WANTED
	[[ $2 == "$3" ]] || fail "$1: got '$2', expected '$3'"
}

expect_match() { # WHAT GOT REGEX
	[[ $2 =~ $3 ]] || fail "$1: got '$2', expected to match /$3/"
}

# A command that must fail with STATUS; its output, both streams, in $OUTPUT.
expect_status() { # STATUS COMMAND...
	local wanted=$1 status=0
	shift
	OUTPUT=$("$@" 2>&1) || status=$?
	((status == wanted)) ||
		fail "'$*' ended with $status, expected $wanted; it said: $OUTPUT"
}

# What a test's choices come from, said at once: in the host's kernel log, too, as that is
# what is left of a run in which the host dies.
note_seed() { # SEED
	note "seed $1"
	echo "selftest ${0##*/}: seed $1" >/dev/kmsg
}

# What the host's kernel says: host_log_mark, and later host_log_since, which prints it. By the
# file that the runner keeps, as the kernel's own buffer is soon full and forgets.
# shellcheck disable=SC2153 # HOST_LOG is the runner's
host_log_mark() {
	local mark="selftest ${0##*/}: mark $RANDOM$RANDOM"
	echo "$mark" >/dev/kmsg
	wait_for 20 "the host's kernel log" grep -qF "$mark" "$HOST_LOG"
	HOST_MARK=$(wc -l <"$HOST_LOG")
}
host_log_since() {
	local from=$HOST_MARK
	host_log_mark
	sed -n "$((from + 1)),${HOST_MARK}p" "$HOST_LOG" | grep -v ': mark '
}

# Waits until a command succeeds. The limit only bounds a test that fails.
wait_for() { # SECONDS WHAT COMMAND...
	local end=$((SECONDS + $1 * ${TIME_SCALE:-1})) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		((SECONDS < end)) || fail "waited in vain for: $what"
		sleep 0.1
	done
}

# ---- host and guests --------------------------------------------------------

host_module() {
	[[ -d /sys/module/vesper_host ]] || insmod "$HOST_TOP/host/vesper_host.ko"
}

host_setup() {
	host_module || return 1
	place host cat /sys/module/vesper_host/sections/.text
	guest_running "$GUEST" || guest_start "$GUEST" --smp 2
}

guest_start() { # NAME [OPTIONS OF guest-vm start...]
	"$TOP/env/guest-vm" start "$@" || return
	place guest guest_exec "$1" "cat /sys/module/vesper_guest/sections/.text"
}

# Writes down where the code of a module is, for env/coverage/run.
place() { # SIDE COMMAND
	local side=$1 address
	shift
	[[ -n ${COVERAGE:-} ]] || return 0
	! address=$("$@" 2>/dev/null) || echo "$side $address" >>"$VESPER_LOG/places"
}

guest_exec() { # NAME COMMAND
	"$TOP/env/guest-vm" exec "$@"
}

guest_put() { # NAME FILE PATH
	"$TOP/env/guest-vm" put "$@"
}

guest_console() { # NAME
	"$TOP/env/guest-vm" console "$1" 2>/dev/null
}

guest_running() { # NAME
	guest_exec "$1" true >/dev/null 2>&1
}

guest_stop() { # NAME
	guest_look "$1"
	"$TOP/env/guest-vm" stop "$1"
}

# Ends one that is of no use any more.
guest_end() { # NAME
	guest_look "$1"
	"$TOP/env/guest-vm" kill "$1" >/dev/null 2>&1
}

guest_stop_all() {
	local name
	for name in $("$TOP/env/guest-vm" list); do guest_end "$name"; done
}

# For kmemleak, in its directory. What changed since the scan before, or is younger than
# five seconds, a scan does not report.
KMEMLEAK_SCAN='echo scan >kmemleak && sleep 6 && echo scan >kmemleak'

# What a kernel that looks for errors has found in a guest: memory that nothing refers to any
# more; and whether it has been looking at locks all the time. It goes to the guest's own log,
# which is searched after the test; where the memory is from, to standard output.
guest_look() { # NAME
	[[ -n ${GUESTS_LOOK:-} ]] || return 0
	"$TOP/env/guest-vm" pid "$1" >/dev/null 2>&1 || return 0
	"$TOP/env/guest-vm" exec --timeout 20 "$1" true >/dev/null 2>&1 || {
		note "guest $1 does not answer, and was not searched for leaks"
		return 0
	}
	"$TOP/env/guest-vm" exec "$1" "cd /sys/kernel/debug && [ -e kmemleak ] || exit 0
		if $KMEMLEAK_SCAN; then
			head -n 100 kmemleak
		else
			echo 'WARNING: kmemleak does not scan' >/dev/kmsg
		fi
		grep -q 'debug_locks: *1' /proc/lockdep_stats || echo 'WARNING: lockdep is off' >/dev/kmsg"
	note "guest $1 was searched for leaks"
}

# A guest about which nothing is known is replaced.
guest_fresh() { # NAME
	"$TOP/env/guest-vm" kill "$1" >/dev/null 2>&1
	guest_start "$1" --smp 2
}

guest_qmp() { # NAME JSON
	"$TOP/env/guest-vm" qmp "$@"
}

# A guest of the test's own, in the place of the one that it shares with others.
# It ends with the test.
own_guest() { # NAME [OPTIONS OF guest-vm start...]
	GUEST=$1
	OWN_GUESTS+=("$1")
	trap own_guests_end EXIT
	guest_start "$@" || fail "guest $1 does not start"
}

own_guests_end() {
	local status=$? name
	for name in "${OWN_GUESTS[@]}"; do
		# One in which a test failed may be in any state.
		((status != 0)) || guest_look "$name"
		"$TOP/env/guest-vm" kill "$name"
		GUEST=$name read_away
	done
	exit "$status"
}

# ---- probes and their files -------------------------------------------------

SEQ=$GUEST_TOP/selftests/modules/vesper_seq/vesper_seq.ko
# shellcheck disable=SC2034 # used by the tests
SIGNAL=$GUEST_TOP/probes/signal/signal.ko

# Loads the probe that numbers its records, under its own name.
load_seq() { # PARAM=VALUE...
	vesper load "$GUEST" "$SEQ" "$@" || fail "cannot load $SEQ with: $*"
}

unload() { # MODULE
	vesper unload "$GUEST" "$1" || fail "cannot unload $1"
}

# Leaves nothing loaded, whatever happened, and nothing unread: that would stay
# for the next test to find.
unload_on_exit() { # MODULE...
	ON_EXIT=("$@")
	trap unload_all EXIT
}

unload_all() {
	local module
	for module in "${ON_EXIT[@]}"; do
		vesper unload "$GUEST" "$module" >/dev/null 2>&1
	done
	read_away
}

# What a guest left unread is read, and so goes.
read_away() { find "$RELAY/$GUEST" -type f -exec cat {} + >/dev/null 2>&1; }

# Pages that guests have lent, all of them together.
lent_pages() {
	vesper domains --json | grep -o '"lent_pages": *[0-9]*' |
		awk -F: '{ sum += $2 } END { print sum + 0 }'
}

relay_file() { # MODULE CPU
	echo "$RELAY/$GUEST/$1/cpu$2"
}

# The guest's own count of a channel, kept apart from index and relay buffer.
guest_count() { # MODULE FIELD CPU|all
	guest_exec "$GUEST" "cat /sys/kernel/debug/vesper_guest/$1/cpu/stats" |
		awk -v field="$2" -v cpu="$3" '
			/^cpu/ { for (i = 1; i <= NF; i++) name[$i] = i; next }
			$1 == cpu || cpu == "all" { sum += $name[field] }
			END { print sum + 0 }'
}

# ---- the probe that numbers its records -------------------------------------

seq_write() { # CPU COUNT [urgent] [nested] [big]
	guest_exec "$GUEST" "echo $* >/sys/kernel/debug/vesper_seq/write" ||
		fail "the guest cannot write records: $*"
}

seq_flush() {
	guest_exec "$GUEST" "echo 1 >/sys/kernel/debug/vesper_seq/flush" ||
		fail "the guest cannot flush"
}

# Loads it so that it streams, 100 records a second on each CPU, and has room for
# half a minute of them: so long may something be in the way, on a slow machine.
load_stream() {
	load_seq rate=1 len=64 subbuf_size=16384 n_subbufs=64 switch_ms=500
}

# Next number of a CPU: so many records there were until now.
seq_number() { # CPU
	guest_exec "$GUEST" "cat /sys/kernel/debug/vesper_seq/numbers" | awk -v cpu="$1" '$1 == cpu { print $2 }'
}

# Two consumers that each have a file open until it ends, CPU 0's mapped, CPU
# 1's read. Returns when they have. What they get goes to the end of DIR/stream*.
follow() { # DIR
	mkdir -p "$1"
	relay_map --follow "$(relay_file vesper_seq 0)" >>"$1/stream0" &
	FOLLOWERS=($!)
	relay_tail "$(relay_file vesper_seq 1)" >>"$1/stream1" &
	FOLLOWERS+=($!)
	cp "$RELAY/$GUEST/vesper_seq/metadata" "$1/" || fail "no metadata"
	wait_for 20 "the mapping" grep -q vesper_seq/cpu0 "/proc/${FOLLOWERS[0]}/maps"
	wait_for 20 "the open file" test "/proc/${FOLLOWERS[1]}/fd/3" -ef "$(relay_file vesper_seq 1)"
}

# Waits for both to reach the end of their file.
followed() {
	local pid
	for pid in "${FOLLOWERS[@]}"; do
		wait "$pid" || fail "a consumer ended with $?"
	done
}

# The whole way once, and nothing left behind.
still_works() {
	local left=$RELAY/$GUEST/vesper_seq
	load_seq n_subbufs=4 switch_ms=600000
	seq_write 0 10
	seq_flush
	expect_eq "records" "$(vesper cat "$GUEST/vesper_seq" --json | wc -l)" 10
	unload vesper_seq
	wait_for 20 "the files to go" test ! -e "$left"
	expect_eq "the host's list" "$(vesper list "$GUEST" --json)" "[]"
	expect_eq "pages lent" "$(lent_pages)" 0
}

# What the host must read of a CPU's buffer, from the guest's memory.
seq_expected() { # CPU SUBBUF_SIZE
	local dir=/sys/kernel/debug/vesper_guest/vesper_seq/cpu part
	for part in buffer index; do
		guest_exec "$GUEST" "cat $dir/$part$1 | gzip -c | base64" | base64 -d | gunzip \
			>"$VESPER_WORK/guest.$part"
	done
	expected_bytes "$VESPER_WORK/guest.buffer" "$VESPER_WORK/guest.index" "$2"
}

# The same for buffers too large to be carried over: their checksum.
seq_expected_sum() { # CPU SUBBUF_SIZE
	local dir=/sys/kernel/debug/vesper_guest/vesper_seq/cpu
	guest_exec "$GUEST" "base64 $dir/index$1" | base64 -d >"$VESPER_WORK/guest.index"
	guest_exec "$GUEST" "{ $(expected_bytes --pieces "$dir/buffer$1" "$VESPER_WORK/guest.index" "$2") } | sha256sum" |
		cut -d' ' -f1
}

# A copy of a module's directory as any user would make it, and what
# babeltrace2 makes of that; it may have nothing to complain about.
babeltrace() { # DIR
	babeltrace2 "$1" >"$VESPER_WORK/babeltrace" 2>"$VESPER_WORK/babeltrace.err" ||
		fail "babeltrace2: $(cat "$VESPER_WORK/babeltrace.err")"
	[[ ! -s $VESPER_WORK/babeltrace.err ]] ||
		fail "babeltrace2 warns: $(head -5 "$VESPER_WORK/babeltrace.err")"
	cat "$VESPER_WORK/babeltrace"
}

same_bytes() { # WHAT FILE FILE
	cmp "$2" "$3" || fail "$1: $(stat -c %s "$2") and $(stat -c %s "$3") bytes differ"
	note "$1: $(stat -c %s "$2") bytes, the same"
}

# The plainest consumer: poll, then cat, until the file ends.
consume_into() { # RELAY-FILE COPY
	while [[ -e $1 ]] && relay_wait "$1"; do
		cat "$1" >>"$2"
	done
}
