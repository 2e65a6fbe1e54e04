# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Recorders at work beside a test, and what babeltrace2 makes of their traces.
# Sourced instead of lib/vesper.sh.
#
# shellcheck disable=SC2317 # called by its name in wait_for

. lib/vesper.sh

# Starts `vesper record` and waits until it has taken up COUNT modules. Its output
# is in DIR.log; RECORDER is its process.
record_start() { # DIR COUNT ARGUMENTS...
	local dir=$1 count=$2
	shift 2
	vesper record -o "$dir" "$@" >"$dir.log" 2>&1 &
	RECORDER=$!
	taken_up() { (($(grep -c 'recording into' "$dir.log") >= count)); }
	wait_for 20 "the recorder to take up $*" taken_up
}

# Waits until a recorder has ended by itself, with STATUS (0).
record_end() { # DIR [STATUS]
	local status=0
	wait "$RECORDER" || status=$?
	note "$(tail -n 1 "$1.log")"
	((status == ${2:-0})) || fail "the recorder ended with $status: $(cat "$1.log")"
}

record_stop() { # DIR
	kill -INT "$RECORDER"
	record_end "$1"
}

# Instead of unload_on_exit's: no recorder stays behind, and of one that was in the way it is
# said what it did last, and where it is.
record_exit() {
	local status=$?
	((status == 0)) || [[ -z ${RECORDER:-} ]] || {
		tail -n 3 "$VESPER_WORK"/*.log
		cat "/proc/$RECORDER/stat" "/proc/$RECORDER/stack"
	} 2>/dev/null
	[[ -z ${RECORDER:-} ]] || kill -KILL "$RECORDER" 2>/dev/null
	unload_all
}

# Nothing that a recorder could take, in any buffer of the guest.
all_recorded() {
	[[ $(vesper stat "$GUEST" --json) != *'"unread_bytes":'[1-9]* ]]
}

# Everything in a trace, message by message; not a word of complaint.
trace_details() { # DIR
	babeltrace2 "$1" --component sink.text.details >"$VESPER_WORK/details" 2>"$VESPER_WORK/details.err" ||
		fail "babeltrace2: $(cat "$VESPER_WORK/details.err")"
	[[ ! -s $VESPER_WORK/details.err ]] ||
		fail "babeltrace2 warns: $(head -5 "$VESPER_WORK/details.err")"
	cat "$VESPER_WORK/details"
}

# How many events or packets babeltrace2 finds to be discarded in a trace.
discarded() { # events|packets DIR
	# What is wrong with it is said in place of the number.
	(trace_details "$2") >"$VESPER_WORK/discarded" || {
		cat "$VESPER_WORK/discarded"
		return 1
	}
	sed -nE 's/^.*Discarded '"$1"' \(([0-9,]+) .*$/\1/p' "$VESPER_WORK/discarded" | tr -d , |
		awk '{ sum += $1 } END { print sum + 0 }'
}

# The records of a trace in the order of their times, in $VESPER_WORK/records; babeltrace2's
# remarks on discarded ones, which it prints as warnings, are what discarded() counts.
trace_records() { # DIR
	babeltrace2 "$1" >"$VESPER_WORK/records" 2>"$VESPER_WORK/records.err" ||
		fail "babeltrace2: $(cat "$VESPER_WORK/records.err")"
	grep -v 'Tracer discarded' "$VESPER_WORK/records.err" >"$VESPER_WORK/records.rest"
	[[ ! -s $VESPER_WORK/records.rest ]] || fail "babeltrace2 warns: $(head -5 "$VESPER_WORK/records.rest")"
}
