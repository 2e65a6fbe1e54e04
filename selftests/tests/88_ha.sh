#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# time-limit: 300
# vesper-ha without a cluster: rules are judged, actions done once, and what was
# found can be explained; over a dry run, its own death, a burst, one of which records are
# lost, reboots, a panic, and a restart of the host module.
# kernel-log: ha1 * Kernel panic|Call Trace
. lib/vesper.sh
. lib/groups.sh

own_guest ha1 --smp 2
DONE=$VESPER_WORK/done
: >"$DONE"
export VESPER_HA_CONFIG=$VESPER_WORK/ha.toml VESPER_HA_STATE=$VESPER_WORK/state
export VESPER_HA_LATCHES=$VESPER_WORK/latches
cat >"$VESPER_WORK/act" <<ACT
#!/bin/sh
echo "\$VESPER_RULE \$VESPER_GUEST \$VESPER_EVENT \$*" >>"$DONE"
ACT
chmod +x "$VESPER_WORK/act"
cat >"$VESPER_HA_CONFIG" <<RULES
[cluster]
manager = "none"

[limit]                     # it is not what is looked at here
per_guest = 20

[[rule]]
name = "burst"
probe = "vesper_seq"
event = "seq"
hold = "1h"
command = ["$VESPER_WORK/act", "first"]

[[rule]]
name = "all of it"
probe = "vesper_seq"
event = "seq"
count = 100000
within = "1h"
hold = "1h"
command = ["$VESPER_WORK/act"]

[[rule]]
name = "killed"
probe = "process"
event = "exit"
where = { comm = "service", signal = "!=none" }
hold = "1h"
command = ["$VESPER_WORK/act"]

[[rule]]
name = "missed"
probe = "process"
event = "exit"
where = { comm = "missed", signal = "!=none" }
hold = "0s"
command = ["$VESPER_WORK/act"]

[[rule]]
name = "panicked"
probe = "panic"
event = "panic"
destroy = true
command = ["$VESPER_WORK/act"]
RULES

begin() { # [OPTIONS OF vesper-ha run]
	vesper-ha run "$@" 2>>"$VESPER_WORK/log" &
	HA=$!
}
clean_up() {
	local status=$?
	kill "$HA" 2>/dev/null
	kill -CONT "$HA" 2>/dev/null
	((status == 0)) || cat "$VESPER_WORK/log"
	(exit $status)
	own_guests_end
}
trap clean_up EXIT
done_for() { grep -c "^$1 $GUEST " "$DONE"; }
is_done() { (($(done_for "$1") == $2)); }
service() { kill_service "$GUEST"; }
end() {
	kill -TERM "$HA"
	wait "$HA" || fail "vesper-ha ended with $?"
}

# Nothing is loaded, and that is said; then a slip.
expect_match "what is missing" "$(vesper-ha check)" "ha1: probe 'process' is not loaded; 'vesper keep add ha1 process'"
slip() { # SED-SCRIPT WANTED
	sed "$1" "$VESPER_HA_CONFIG" >"$VESPER_WORK/slip.toml"
	expect_status 1 vesper-ha --config "$VESPER_WORK/slip.toml" check
	expect_match "a slip" "$OUTPUT" "$2"
}
slip 's/hold/hodl/' 'hodl'
slip 's/signal = /sigal = /' "rule 'killed': no field 'sigal' in 'exit': .*signal"
slip 's/"exit"/"exits"/' "rule 'killed': 'process' writes no 'exits': .*exit"
expect_status 0 vesper-ha --config "$TOP/tools/vesper-ha/ha.toml" check

# Dry: all is said, nothing is done.
load_group process points=exit
begin --dry-run
service
said() { grep -q "$1" "$VESPER_WORK/log"; }
wait_for 30 "the judgement" said 'killed: ha1: command: dry run'
end
is_done killed 0 || fail "a dry run did something"

# For real, which a dry run before is no reason against.
begin
service
wait_for 30 "the action" is_done killed 1
# On a host that is short of memory it waits for no page of its own.
locked=$(awk '/^VmLck:/ { print $2 }' "/proc/$HA/status")
((locked >= $(awk '/^VmExe:/ { print $2 }' "/proc/$HA/status"))) || fail "only $locked KiB are locked"
note "locked in memory: $locked KiB, of which used: $(awk '/^VmRSS:/ { print $2 }' "/proc/$HA/status")"
# Nobody else works with the same files.
expect_status 1 vesper-ha run
expect_match "a second one" "$OUTPUT" "another vesper-ha runs with $VESPER_HA_STATE"
expect_status 1 vesper-ha run --dry-run
expect_match "a dry run beside it" "$OUTPUT" 'give this one another --state'
expect_status 1 vesper-ha --state "$VESPER_WORK/other" run
expect_match "one with another journal" "$OUTPUT" "runs with $VESPER_HA_LATCHES"
# An operator clears it: it counts as new at once.
service
vesper-ha clear ha1
wait_for 20 "the word to arrive" said 'ha1: cleared'
service
wait_for 30 "the action" is_done killed 2

die() {
	kill -9 "$HA"
	wait "$HA"
}
# What happens after its own violent death waits in the buffers. It is acted on once, and
# not once more by the next one.
die
kill_service ha1 missed
begin
wait_for 30 "the action" is_done missed 1
die
begin
service
# All of a burst arrives, none is lost, and it is one action. The buffers hold all of it:
# a guest that only writes may well be faster than its reader.
load_seq rate=0 len=32 subbuf_size=65536 n_subbufs=64
for _ in 1 2 3 4; do
	seq_write 0 12500
	seq_write 1 12500
done
seq_flush
wait_for 30 "the first of many" is_done burst 1
wait_for 90 "the last of them" is_done "all of it" 1
expect_eq "records written" "$(($(seq_number 0) + $(seq_number 1)))" 100000
expect_eq "records lost" "$(guest_count vesper_seq lost all)" 0
is_done burst 1 || fail "it acted $(done_for burst) times"
is_done killed 2 || fail "it acted again after its restart"
is_done missed 1 || fail "it acted $(done_for missed) times on what it had missed"
told=$(vesper-ha explain ha1 --json)
expect_match "the first of the burst" "$told" '"rule":"burst".*"number":(0|\{"value":0)'
no_files() { [[ ! -e $RELAY/ha1/$1 ]]; }
for module in vesper_seq process; do
	unload $module
	wait_for 60 "the last of $module to be read" no_files $module
done
end
said 'ends: [0-9]* records judged, 0 lost' || fail "records were lost: $(grep 'ends:' "$VESPER_WORK/log")"

# A burst of urgent records that the buffers do not hold: at first nobody reads. It is one
# action again, the first record is not among the lost, and how many those are is told.
vesper-ha clear ha1
begin
load_seq len=32
kill -STOP "$HA"
seq_write 0 12500 urgent
seq_write 1 12500 urgent
kill -CONT "$HA"
for _ in 1 2 3; do
	seq_write 0 12500 urgent
	seq_write 1 12500 urgent
done
# The next record that there is room for says what was lost before it.
gets_in() { # CPU
	local before
	before=$(guest_count vesper_seq lost "$1")
	seq_write "$1" 1 urgent
	(($(guest_count vesper_seq lost "$1") == before))
}
wait_for 60 "room for a record" gets_in 0
wait_for 60 "room for a record" gets_in 1
lost=$(guest_count vesper_seq lost all)
judged=$(($(seq_number 0) + $(seq_number 1) - lost))
note "$judged records got into the buffers, $lost did not"
((lost > 0)) || fail "no record was lost"
unload vesper_seq
wait_for 120 "the last of them to be read" no_files vesper_seq
end
expect_match "what it has seen" "$(grep 'ends:' "$VESPER_WORK/log" | tail -n 1)" \
	"ends: $judged records judged, $lost lost\$"
is_done burst 2 || fail "it acted $(done_for burst) times on two bursts"
said 'ha1/vesper_seq: [0-9]* records lost: no rule has seen them' || fail "the loss is not in its log"
told=$(vesper-ha explain ha1)
expect_match "the loss" "$told" "  $lost records of vesper_seq were lost in this boot"
expect_match "the loss, by itself" "$told" 'ha1/vesper_seq: [0-9]+ records lost: no rule'
first_numbers() {
	vesper-ha explain ha1 -n 100 --json | python3 -c '
import json, sys
print(*(found["fields"]["number"] for found in json.load(sys.stdin) if found["rule"] == "burst"))'
}
expect_eq "the first record of each burst" "$(first_numbers)" "0 0"
begin

# Marks: of this boot, of another, and one that is no mark.
mark() { # TEXT
	mkdir -p "$VESPER_HA_LATCHES"
	echo "$1" >"$VESPER_HA_LATCHES/ha1.latch"
}
boot=$(vesper domains --json | grep '"domain":"ha1"' | grep -o '"boot_id":"[^"]*"')
expect_status 0 vesper-ha monitor ha1
mark "{$boot,\"rule\":\"made up\",\"cause\":\"for the monitor\",\"time_ns\":0}"
expect_status 9 vesper-ha monitor ha1
expect_match "the mark" "$(OCF_RESOURCE_INSTANCE=ha1 vesper-ha monitor 2>&1)" 'made up: for the monitor'
expect_status 0 env VESPER_DEVICE=/dev/none vesper-ha monitor ha1
expect_match "no device" "$OUTPUT" 'cannot be found out'
mark '{"boot_id":"another","rule":"made up","cause":"none","time_ns":0}'
expect_status 0 vesper-ha monitor ha1
mark rubbish
expect_status 0 vesper-ha monitor ha1
expect_match "rubbish" "$OUTPUT" 'says nothing'
vesper-ha clear ha1

# The guest dies, and is killed for it; the cause is on record with its stack.
load_group panic
guest_exec ha1 "(sleep 0.2; echo c >/proc/sysrq-trigger) &"
wait_for 60 "the action" is_done panicked 1
gone() { ! guest_running ha1; }
wait_for 30 "the end of QEMU" gone
told=$(vesper-ha explain ha1 -n 1)
note "$told"
expect_match "the cause" "$told" 'panicked \(panic of panic\)'
expect_match "the message" "$told" 'message=.*sysrq triggered crash'
expect_match "the stack" "$told" 'sysrq_handle_crash'
expect_match "the action" "$told" 'destroy after .*: process [0-9]+ killed'
expect_match "the mark" "$(cat "$VESPER_HA_LATCHES/ha1.latch")" '"rule":"panicked"'
guest_start ha1 --smp 2 || fail "the guest does not start again"
unmarked() { vesper-ha monitor ha1; }
wait_for 60 "the mark's end" unmarked
no_mark() { [[ ! -e $VESPER_HA_LATCHES/ha1.latch ]]; }
wait_for 20 "the mark to be taken away" no_mark
end

# The host module goes and comes back while no guest is there, and the daemon waits.
guest_stop_all
rm "$VESPER_WORK/log"
removed() {
	find "$RELAY" -type f -exec cat {} + >/dev/null 2>&1
	rmmod vesper_host
}
wait_for 30 "the host module to go" removed
begin
wait_for 20 "the wait" said 'the host module is not loaded; waiting for it'
insmod "$HOST_TOP/host/vesper_host.ko" || fail "vesper_host does not come back"
GUEST=web1
guest_start web1 --smp 2 || fail "no guest after that"
load_group process points=exit
service
wait_for 30 "the action" is_done killed 1
unload process
end
