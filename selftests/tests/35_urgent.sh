#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# An urgent record reaches the host although its sub-buffer is nearly empty, and before
# an ordinary one that was written earlier; an ordinary one waits for the switch timer,
# and no longer. Either wakes a reader that sleeps in poll().
. lib/vesper.sh
unload_on_exit vesper_seq

# A reader sleeps, and nobody else looks at the buffer, which would wake it, too.
in_poll() { read -r call _ <"/proc/$1/syscall" && [[ $call == 7 || $call == 271 ]]; }
wakes() { # CPU, then the words for seq_write
	relay_wait "$(relay_file vesper_seq "$1")" $((20000 * ${TIME_SCALE:-1})) &
	local reader=$!
	wait_for 20 "the reader to sleep" in_poll $reader
	seq_write "$@"
	wait $reader || fail "a reader is not woken by: $*"
}

load_seq switch_ms=600000 n_subbufs=4
seq_write 0 1
seq_write 1 1
expect_status 3 relay_wait "$(relay_file vesper_seq 0)" 1000
wakes 0 1 urgent
expect_status 3 relay_wait "$(relay_file vesper_seq 1)" 0
expect_eq "records" "$(vesper cat "$GUEST/vesper_seq" --json | wc -l)" 2
seq_flush
expect_eq "records that were ordinary" "$(vesper cat "$GUEST/vesper_seq" --json | wc -l)" 1
unload vesper_seq

load_seq n_subbufs=4
wakes 1 1
expect_eq "records" "$(vesper cat "$GUEST/vesper_seq" --json | wc -l)" 1
unload vesper_seq

# What a stream of records waits for: how long the sub-buffers of CPU 0 were open, by the
# guest's own clock, is not less than the switch time, and with the default of 100 ms,
# on average and even on a busy machine, far less than with the other.
packets() { # FILE: number of packets, shortest and mean time from one to the next, in ms
	python3 - "$1" "$TSC_KHZ" <<'END'
import struct, sys

# Without a TSC frequency times are in nanoseconds.
data, khz = open(sys.argv[1], "rb").read(), int(sys.argv[2]) or 1000000
begins, at = [], 0
while at < len(data):
    begin, _, bits, _, sequence, discarded = struct.unpack_from("<6Q", data, at + 32)
    if sequence != len(begins) or discarded:
        sys.exit(f"packet {len(begins)} has number {sequence}, {discarded} were discarded")
    begins.append(begin)
    at += bits // 8
# The last was closed by the unload.
times = [(b - a) // khz for a, b in zip(begins, begins[1:])]
print(len(begins), min(times), (begins[-1] - begins[0]) // khz // len(times))
END
}
TSC_KHZ=$(vesper domains --json | tr -d '\n ' | tr '{' '\n' |
	sed -n "s/.*\"domain\":\"$GUEST\".*\"tsc_khz\":\([0-9]*\).*/\1/p")
numbers() { (($(seq_number 0) >= 500)); }
SLOW=2000
for switch in '' $SLOW; do
	load_seq rate=1 subbuf_size=16384 n_subbufs=480 ${switch:+switch_ms=$switch}
	wait_for 120 "500 records" numbers
	unload vesper_seq
	cat "$(relay_file vesper_seq 0)" >"$VESPER_WORK/stream"
	read_away
	figures=$(packets "$VESPER_WORK/stream") || fail "no figures: $figures"
	read -r count least mean <<<"$figures"
	note "switch time ${switch:-100} ms: $count packets, $least ms at least, $mean ms on average"
	# The clocks of timers and records are not quite the same.
	((10 * least >= 9 * ${switch:-100})) || fail "a sub-buffer was closed after $least ms"
	[[ $switch ]] || ((mean < SLOW / 2)) || fail "ordinary records wait for $mean ms on average"
done
