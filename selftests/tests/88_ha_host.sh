#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The rules that are shipped for the host (paper 5.2), in a dry run, while it has trouble for
# real: memory that is short for all would turn the node's health red, memory that is short
# for a group only is the group's affair. While nothing happens it sleeps. (All other signs,
# and what the cluster makes of the health: ha_nodes.)
# kernel-log: host * (Call Trace:|Memory cgroup out of memory|Out of memory: Killed process)
. lib/vesper.sh
. lib/groups.sh
. lib/host_domain.sh

export VESPER_HA_CONFIG=$VESPER_WORK/ha.toml VESPER_HA_STATE=$VESPER_WORK/state
export VESPER_HA_LATCHES=$VESPER_WORK/latches
cat "$TOP/tools/vesper-ha/ha.toml" - >"$VESPER_HA_CONFIG" <<RULE
[[rule]]
name = "a group's affair"
guests = ["host"]
probe = "memory"
event = "out_of_memory"
where = { constraint = "memory_cgroup" }
RULE
clean_up() {
	local status=$?
	kill "$HA" 2>/dev/null
	((status == 0)) || cat "$VESPER_WORK/log"
	host_group_end
	(exit $status)
	host_domain_end
} 2>/dev/null
host_domain_up
trap clean_up EXIT
host_domain
load_group memory points=oom,victim
vesper-ha run --dry-run 2>"$VESPER_WORK/log" &
HA=$!
said() { grep -q "$1" "$VESPER_WORK/log"; }
wait_for 20 "vesper-ha" said 'dry run: nothing is done'
# It waits for events, not for time to pass: as soon as its own start is behind it, there are
# six seconds in which it is not woken.
switches() { awk '/^voluntary_ctxt_switches/ { print $2 }' "/proc/$HA/status"; }
sleeps() {
	local before
	before=$(switches)
	sleep 6
	(($(switches) == before))
}
wait_for 60 "it to sleep for six seconds" sleeps
times() { grep -c "$1" "$VESPER_WORK/log"; }

host_step "memory of a group"
host_group_eats
wait_for 30 "the finding" said "^a group's affair: host/memory: out_of_memory"

host_step "memory of all"
# The kernel kills who says that he is to be the first.
host_victim
echo 1000 >"/proc/$VICTIM/oom_score_adj" || fail "oom_score_adj"
echo f >/proc/sysrq-trigger
wait "$VICTIM" 2>/dev/null
wait_for 60 "the finding" said '^host out of memory: host/memory: out_of_memory'
wait_for 30 "what would be done" said '^host out of memory: host: attribute #health-vesper: dry run: not done'
expect_eq "findings" "$(times '^host out of memory: host/')" 1

kill -TERM "$HA"
wait "$HA" || fail "vesper-ha ended with $?"
! said 'FAILED' || fail "a dry run did something"
expect_status 0 vesper-ha explain host -n 50
expect_match "what is explained" "$OUTPUT" 'by a dry run'
