#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# One time line for the host and two guests. The host, probed itself, hands each of
# them in turn the request to unload a module, and later has the answer; the guest
# takes the request, and is done with it. These four come in this order, again and
# again: causes before effects, there and back, and so one reader must find them in
# a trace of all three, although the guests' wall clocks are wrong by years, and so must
# who looks at all three with `vesper cat`; traces that end before and after the host's clock
# is set stay together; who follows sees the host's clock as it is set meanwhile. The time
# between cause and effect, where it was shortest, bounds the error either way; the middle of
# the two is the error as measured.
. lib/record.sh
. lib/host_domain.sh

shared=line1
OTHER=line2
# An emulated processor does not say that its TSC is constant, and then records do
# not have it.
own_guest $shared --smp 1 --mem 320 --append setcpuid=constant_tsc --no-wait
own_guest $OTHER --smp 2 --mem 320 --append setcpuid=constant_tsc
"$TOP/env/guest-vm" wait $shared || fail "guest $shared"
host_domain_up
AHEAD=0
end() {
	local status=$?
	((AHEAD == 0)) || ahead $((-AHEAD))
	kill "${RECORDER:-}" "${FOLLOWER:-}" 2>/dev/null
	host_domain_clear
	(exit "$status")
	own_guests_end
}
trap end EXIT

guest_exec $shared 'date -s @978307200' >/dev/null || fail "date"
guest_exec $OTHER 'date -s @1924992000' >/dev/null || fail "date"
# The probes, in all three.
watch() {
	# shellcheck disable=SC2016 # $arg1 and so on are the probe's
	for GUEST in $shared $OTHER; do
		VESPER_PROBES=$GUEST_TOP/probes vesper load "$GUEST" any at=t:vesper_guest:vesper_unload_request,t:vesper_guest:vesper_unload_done \
			args='what=$arg2:string' || fail "no probe in $GUEST"
	done
	# shellcheck disable=SC2016
	vesper load host any at=t:vesper_host:vesper_step \
		args='which=$arg1:string,whose=$arg2:string,what=$arg3:string' || fail "no probe on the host"
	GUEST=host
}
unwatch() { for GUEST in $shared $OTHER host; do unload any; done; }
ahead() { # SECONDS
	# By one program: the second that a slow machine takes to start another would be missing.
	python3 -c 'import sys, time
time.clock_settime(time.CLOCK_REALTIME, time.time() + float(sys.argv[1]))' "$1" || fail "the clock"
	AHEAD=$((AHEAD + $1))
}

# Modules come and go, so many times; WANTED is the order of what that causes.
causes() { # TIMES
	local n SEQ=$GUEST_TOP/selftests/modules/vesper_seq/vesper_seq.ko
	WANTED=''
	for ((n = 0; n < $1; n++)); do
		for GUEST in $shared $OTHER; do
			load_seq n_subbufs=4
			unload vesper_seq
			# Handed out and answered on the host: steps C3 and C8.
			WANTED+="host:C3:$GUEST $GUEST:request $GUEST:done host:C8:$GUEST "
		done
	done
}

in_order() { # FILE-WITH-TIMES-AND-NAMES
	[[ "$(cut -d' ' -f2 "$1" | tr '\n' ' ')" == "$WANTED" ]] || {
		cat "$1"
		fail "not in order, which is: $WANTED"
	}
}

host_domain
watch
record_start "$VESPER_WORK/trace" 3 $shared/any $OTHER/any host/any
note "$(grep 'times are' "$VESPER_WORK/trace.log")"
(($(grep -c "on the host's wall clock" "$VESPER_WORK/trace.log") == 3)) || fail "somebody's own clock is taken"

causes 5
# One trace ends before the host's clock is set, the others after.
GUEST=$shared
unload any
ended() { grep -q "^$shared/any: ended" "$VESPER_WORK/trace.log"; }
wait_for 20 "the first trace to end" ended
ahead 3600
for GUEST in $OTHER host; do unload any; done
record_end "$VESPER_WORK/trace"
RECORDER=
ahead -3600
expect_match "word of it" "$(<"$VESPER_WORK/trace.log")" 'wall clock was set by \+(3600|3599)\.[0-9]{3} s meanwhile'
# Whose boot it was, in each one's own trace.
for GUEST in host $shared $OTHER; do
	origin=$(trace_details "$VESPER_WORK/trace/$GUEST/any") || fail "$GUEST: $origin"
	expect_eq "boot id in the trace of $GUEST" \
		"$(sed -nE '/Environment/,$s/^ +boot_id: (.*)$/\1/p' <<<"$origin" | sort -u)" \
		"$(guest_exec "$GUEST" 'cat /proc/sys/kernel/random/boot_id')"
done
GUEST=host

babeltrace2 "$VESPER_WORK/trace" --clock-seconds --no-delta --fields trace:domain \
	>"$VESPER_WORK/all" 2>"$VESPER_WORK/err" || fail "babeltrace2: $(cat "$VESPER_WORK/err")"
[[ ! -s $VESPER_WORK/err ]] || fail "babeltrace2 warns: $(cat "$VESPER_WORK/err")"

# Of each record its time in nanoseconds and what it is.
grep 'what = "vesper_seq"' "$VESPER_WORK/all" | sed -nE '
	s/^\[([0-9]+)\.([0-9]{9})\] host .* which = "(C[38])".* whose = "([^"]*)".*/\1\2 host:\3:\4/p
	s/^\[([0-9]+)\.([0-9]{9})\] ([^ ]+) .*unload_(request|done).*/\1\2 \3:\4/p' >"$VESPER_WORK/order"
in_order "$VESPER_WORK/order"

# The least time between two of the four.
least() { # NAME FROM TO
	local record=() least='' apart
	while mapfile -t -n 4 record && ((${#record[@]})); do
		[[ ${record[1]#* } == "$1":* ]] || continue
		apart=$((${record[$3]%% *} - ${record[$2]%% *}))
		[[ -n $least ]] && ((least <= apart)) || least=$apart
	done <"$VESPER_WORK/order"
	echo "$least"
}
for name in $shared $OTHER; do
	high=$(least "$name" 0 1)
	low=$((-$(least "$name" 2 3)))
	note "$name: error against the host's times: $(((low + high) / 2)) ns +- $(((high - low) / 2)) ns: more than $low ns, less than $high ns"
done

# What is on the screen: the host's wall clock, for all three.
shown() {
	grep 'what="vesper_seq"' "$VESPER_WORK/shown" | sed -nE '
		s/^([0-9-]+) ([0-9:]+)\.[0-9]+ host\/any .* which="(C[38])" whose="([^"]*)".*/\1T\2 host:\3:\4/p
		s/^([0-9-]+) ([0-9:]+)\.[0-9]+ ([^ ]+)\/any .*unload_(request|done)".*/\1T\2 \3:\4/p'
}
watch
from=$(date -u +%FT%T)
causes 2
to=$(date -u +%FT%T)
unwatch
vesper cat --utc host $shared $OTHER >"$VESPER_WORK/shown" 2>"$VESPER_WORK/said" || fail "cat: $(<"$VESPER_WORK/said")"
shown >"$VESPER_WORK/order"
in_order "$VESPER_WORK/order"
while read -r at what; do
	[[ ! $at < $from && ! $at > $to ]] || fail "$what is said to be at $at, and was from $from to $to"
done <"$VESPER_WORK/order"
note "vesper cat shows the same order, from $from to $to"

# Who follows, while the host's clock is an hour ahead: by that, and not by what it was.
watch
vesper cat --utc --follow host $shared $OTHER >"$VESPER_WORK/shown" 2>"$VESPER_WORK/said" &
FOLLOWER=$!
causes 1
followed() { [[ $(shown | wc -l) == "$1" ]]; }
wait_for 20 "the records of before" followed 8
ahead 3600
# It looks at the clock each second at the least.
sleep 3
from=$(date -u +%FT%T)
causes 1
wait_for 20 "the records of after" followed 16
to=$(date -u +%FT%T)
ahead -3600
unwatch
wait "$FOLLOWER" || fail "cat --follow: $(<"$VESPER_WORK/said")"
FOLLOWER=
shown | tail -n 8 >"$VESPER_WORK/order"
while read -r at what; do
	[[ ! $at < $from && ! $at > $to ]] || fail "$what is said to be at $at, and was from $from to $to"
done <"$VESPER_WORK/order"
note "vesper cat --follow goes with the host's clock, from $from to $to"
