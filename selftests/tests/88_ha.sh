#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# time-limit: 240
# vesper-ha without a cluster: rules are judged, actions done once, and what was
# found can be explained; over a burst, its own death, reboots, and a panic.
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

[[rule]]
name = "burst"
probe = "vesper_seq"
event = "seq"
hold = "1h"
command = ["$VESPER_WORK/act", "first"]

[[rule]]
name = "killed"
probe = "process"
event = "exit"
where = { comm = "service", signal = "!=none" }
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
	((status == 0)) || cat "$VESPER_WORK/log"
	(exit $status)
	own_guests_end
}
trap clean_up EXIT
done_for() { grep -c "^$1 ha1 " "$DONE"; }
is_done() { (($(done_for "$1") == $2)); }
service() { kill_service ha1; }

# Nothing is loaded, and that is said; then a slip.
expect_match "what is missing" "$(vesper-ha check)" "ha1: probe 'process' is not loaded; 'vesper keep add ha1 process'"
sed 's/hold/hodl/' "$VESPER_HA_CONFIG" >"$VESPER_WORK/slip.toml"
expect_match "a slip" "$(vesper-ha --config "$VESPER_WORK/slip.toml" check 2>&1)" 'hodl'

# Dry: all is said, nothing is done.
load_group process points=exit
begin --dry-run
service
said() { grep -q "$1" "$VESPER_WORK/log"; }
wait_for 30 "the judgement" said 'killed: ha1: command: dry run'
kill -TERM "$HA"
wait "$HA" || fail "it ended with $?"
is_done killed 0 || fail "a dry run did something"
rm -rf "$VESPER_HA_STATE"

# For real, and not once more after its own violent death.
begin
service
wait_for 30 "the action" is_done killed 1
kill -9 "$HA"
wait "$HA"
begin
service
load_seq rate=0 len=32 n_subbufs=8
for _ in 1 2 3 4; do
	seq_write 0 12500
	seq_write 1 12500
done
seq_flush
wait_for 30 "the first of many" is_done burst 1
drained() {
	vesper stat ha1/vesper_seq --json | grep -q '"unread_bytes": *[1-9]' && return 1
	return 0
}
wait_for 60 "the rest of them" drained
is_done burst 1 || fail "it acted $(done_for burst) times"
is_done killed 1 || fail "it acted again after its restart"
told=$(vesper-ha explain ha1 --json)
expect_match "the first of the burst" "$told" '"rule":"burst".*"number":(0|\{"value":0)'
unload vesper_seq

# The guest dies, and is killed for it; the cause is on record with its stack.
load_group panic
expect_status 0 vesper-ha monitor ha1
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
expect_status 1 vesper-ha monitor ha1
expect_match "the mark" "$(OCF_RESOURCE_INSTANCE=ha1 vesper-ha monitor 2>&1)" 'panicked: ha1/panic: panic'
guest_start ha1 --smp 2 || fail "the guest does not start again"
unmarked() { vesper-ha monitor ha1; }
wait_for 60 "the mark's end" unmarked
expect_status 0 test ! -e "$VESPER_HA_LATCHES/ha1.latch"
kill -TERM "$HA"
wait "$HA" || fail "it ended with $?"
