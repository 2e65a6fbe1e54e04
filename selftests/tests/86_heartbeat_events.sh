#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What the heartbeat says of a guest is an event like any other: the host's own probe makes
# records of it, which `vesper cat` shows as it happens, and `vesper record` keeps, on one
# time line with the guest's. By these records, and the scheduler's account, the guest is
# found hung within 100 ms of the threshold (tools/hang_bill says how that is reckoned).
# kernel-log: host 2 hb2: hung: it ran and did not beat
# kernel-log: hb2 * clocksource: .*(watchdog|Long readout|unstable)
. lib/record.sh
. lib/heartbeat.sh
. lib/host_domain.sh

# Without it an emulated processor's TSC is not in the records (reading-traces.md).
own_guest hb2 --smp 2 --mem 320 --append setcpuid=constant_tsc
ON_GUEST=hb2
host_domain_up
end() {
	local status=$?
	kill "${CAT:-}" "${RECORDER:-}" 2>/dev/null
	rmdir /sys/kernel/tracing/instances/hang_bill 2>/dev/null
	host_domain_clear
	(exit "$status")
	own_guests_end
}
trap end EXIT

fault_setup
# Half a second of an emulated processor is little: what a guest does with interrupts off
# when it runs again after five may take as long.
heartbeat_setup 1s 50ms
VESPER_PROBES=$GUEST_TOP/probes vesper load hb2 any at=vesper_fault_silence urgent=1 ||
	fail "no probe in the guest"
# shellcheck disable=SC2016 # $arg1 is the probe's
VESPER_PROBES=$HOST_TOP/probes vesper load host any at=t:vesper_host:vesper_heartbeat urgent=1 \
	'args=whose=+0($arg1):string,state=$arg2:u32,reason=$arg3:u32,silent_ms=$arg4:u64' ||
	fail "no probe on the host"

SHOWN=$VESPER_WORK/shown
vesper cat --follow --json host/any hb2/any >"$SHOWN" 2>"$VESPER_WORK/said" &
CAT=$!
read -ra threads < <(guest_qmp hb2 '{"execute": "query-cpus-fast"}' | python3 -c '
import json, sys
print(*(cpu["thread-id"] for cpu in json.load(sys.stdin)["return"]))')
expect_eq "threads of CPUs" "${#threads[@]}" 2
hang_bill begin "${threads[@]}" || fail "no trace"
fault hang 5000
shown() { (($(records "$SHOWN" entry "$1") == 1)); }
wait_for 60 "the hang to be shown" shown 'at == "t:vesper_host:vesper_heartbeat" and whose == "hb2" and state == 5'
note "shown while the guest stands still, or just after: $(heartbeat_line)"
wait_for 60 "the guest's own word" shown 'at == "vesper_fault_silence"'
wait_for 60 "its beat" says alive idle
expect_match "clocks" "$(<"$VESPER_WORK/said")" "host/any: times are on the host's wall clock.*hb2/any: times are on the host's wall clock"
hang_bill end hb2 1000 "$SHOWN" || fail "$(grep -c . "$SHOWN") records"
kill -INT $CAT
wait $CAT || fail "vesper cat ended with $?: $(<"$VESPER_WORK/said")"
CAT=

# The same recorded: in a trace causes come before effects.
record_start "$VESPER_WORK/trace" 2 host/any hb2/any
fault hang 5000
hung_twice() { (($(heartbeat hangs) == HANGS + 2)); }
wait_for 60 "the hang" hung_twice
wait_for 60 "its beat" says alive idle
unload any
vesper unload host any || fail "cannot unload the host's probe"
record_end "$VESPER_WORK/trace"
babeltrace2 "$VESPER_WORK/trace" --no-delta >"$VESPER_WORK/all" 2>"$VESPER_WORK/err" ||
	fail "babeltrace2: $(<"$VESPER_WORK/err")"
[[ ! -s $VESPER_WORK/err ]] || fail "babeltrace2 warns: $(<"$VESPER_WORK/err")"
order=$(sed -nE 's/.* at = "vesper_fault_silence".*/stands/p; s/.* whose = "hb2", state = 5, .*/hung/p
	s/.* whose = "hb2", state = [12], .*/lives/p' "$VESPER_WORK/all" | tr '\n' ' ')
note "in the trace: $order"
# It counts as alive for a few periods still.
expect_match "the order" "$order" 'stands (lives )*hung lives '
