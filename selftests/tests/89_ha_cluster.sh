#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# time-limit: 600
# kernel-log: ha2 * Kernel panic|Call Trace
# vesper-ha with a Pacemaker: a guest that panics is failed and started again, once,
# also when the cluster was away; a lost report is found by the next monitor; what does
# not run here or is in maintenance is left alone.
. lib/vesper.sh
. lib/groups.sh
. lib/cluster.sh

GUEST=ha2
export VESPER_HA_CONFIG=$VESPER_WORK/ha.toml VESPER_HA_STATE=$VESPER_WORK/state
export VESPER_HA_LATCHES=$VESPER_WORK/latches
cat >"$VESPER_HA_CONFIG" <<RULES
[cluster]
patience = "45s"

[[rule]]
name = "panicked"
probe = "panic"
event = "panic"
destroy = true
fail = true

[[rule]]
name = "killed"
probe = "process"
event = "exit"
where = { comm = "service", signal = "!=none" }
fail = true
attribute = { name = "trouble-%g" }
health = "red"
clear_after = "20s"
RULES
# What users have, as it is installed: it is told nothing but the resource's name.
mkdir -p "$VESPER_WORK/prefix/bin"
ln -s "$TOP/build/bin/vesper-ha" "$VESPER_WORK/prefix/bin/"
sed "s|@PREFIX@|$VESPER_WORK/prefix|" "$TOP/host/vesper-ha-monitor" >"$VESPER_WORK/monitor"
chmod +x "$VESPER_WORK/monitor"

begin() { # [COMMAND THAT RUNS IT...]
	"$@" vesper-ha run 2>>"$VESPER_WORK/log" &
	HA=$!
}
clean_up() {
	local status=$?
	kill "$HA" "$KEEPER" 2>/dev/null
	((status == 0)) || tail -n 30 "$VESPER_WORK"/*log
	crm_resource --resource ha2 --ban >/dev/null 2>&1
	cluster_stop
	guest_end ha2
	read_away
	exit "$status"
}
trap clean_up EXIT

boot_id() { vesper domains --json | grep '"domain":"ha2"' | grep -o '"boot_id":"[^"]*"'; }
ready() { vesper domains --json | grep '"domain":"ha2"' | grep -q '"state":"ready"'; }
booted_again() { ready && [[ $(boot_id) != "$1" ]]; }
# The cluster's own monitor may have counted the dead QEMU as well.
failed() { [[ $(fail_count ha2) =~ ^([1-9]|INFINITY) ]]; }
probes_there() {
	vesper list ha2 --json | grep -q '"module":"panic".*"state":"live"' &&
		vesper list ha2 --json | grep -q '"module":"process".*"state":"live"'
}
panic() { guest_exec ha2 "(sleep 0.5; echo c >/proc/sysrq-trigger) &"; }

export VESPER_KEEP=$VESPER_WORK/keep.toml
vesper keep add ha2 panic || fail "keep add panic"
vesper keep add ha2 process points=exit || fail "keep add process"
vesper keep run 2>>"$VESPER_WORK/log" &
KEEPER=$!
cluster_start node1
begin
cluster_guest ha2 10s || fail "the cluster does not take the guest"
wait_for 120 "the guest" ready
wait_for 60 "the probes" probes_there

# A panic: QEMU goes on, so nothing else would notice.
first=$(boot_id)
panic
wait_for 60 "the failure" failed
wait_for 120 "the guest's next boot" booted_again "$first"
expect_status 0 vesper-ha monitor ha2
vesper-ha explain ha2 -n 1
told=$(vesper-ha explain ha2 -n 10)
expect_match "what was done" "$told" "fail after .*: resource 'ha2' failed on node1"
expect_match "the order" "$told" $'  destroy after [^\n]*\n  fail after'
expect_eq "times that it was failed" "$(grep -c '  fail after' <<<"$told")" 1
wait_for 60 "the probes" probes_there

# The cluster is away for a moment: it is told when it is back. Resources stay.
crm_attribute --name maintenance-mode --update true || fail "maintenance"
pacemaker_stop
PACEMAKER=
second=$(boot_id)
kill_service ha2
said() { grep -q "$1" "$VESPER_WORK/log"; }
wait_for 30 "the finding" said 'killed: ha2/process: exit'
expect_status 9 vesper-ha monitor ha2
# A daemon that dies meanwhile takes up what it had begun.
kill -9 "$HA"
wait "$HA"
begin
wait_for 30 "the second attempt" said 'begun before, done again'
# What is in maintenance is left alone, so that is over before the third one asks.
kill -9 "$HA"
wait "$HA"
pacemaker_start
crm_attribute --name maintenance-mode --delete
begin
wait_for 120 "the guest's next boot" booted_again "$second"
wait_for 30 "the attribute" said 'trouble-ha2=1 on node1'
wait_for 120 "the attribute's end" said 'trouble-ha2 taken back on node1'

# The report is lost: the daemon does not reach the cluster, whose sockets are in another
# network namespace, and gives up. Until it has, the cluster asks nobody; then its next
# monitor finds the mark.
wait_for 60 "the probes" probes_there
third=$(boot_id)
kill -TERM "$HA"
wait "$HA"
crm_attribute --name maintenance-mode --update true || fail "maintenance"
sed -i 's/^patience = .*/patience = "5s"/' "$VESPER_HA_CONFIG"
begin unshare --net
kill_service ha2
wait_for 90 "the end of its patience" said 'killed: ha2: fail FAILED: .*; given up'
note "$(grep 'given up' "$VESPER_WORK/log")"
count=$(fail_count ha2)
expect_eq "the boot" "$(boot_id)" "$third"
crm_attribute --name maintenance-mode --delete
# Pacemaker cuts reasons short.
reported() { crm_mon --one-shot --output-as=xml | grep -q 'exitreason=.*killed: ha2/process'; }
wait_for 90 "the monitor's failure" reported
wait_for 120 "the guest's next boot" booted_again "$third"
[[ $(fail_count ha2) != "$count" ]] || fail "the failure was not counted: $count"
kill -TERM "$HA"
wait "$HA"

# In maintenance an operator may restart what runs in the guest: that is left alone, also
# afterwards.
begin
wait_for 60 "the probes" probes_there
crm_resource --wait --timeout 120 || fail "the cluster does not come to rest"
count=$(fail_count ha2)
crm_attribute --name maintenance-mode --update true || fail "maintenance"
unmanaged() { crm_mon --one-shot --output-as=xml | grep -q 'maintenance-mode="true"'; }
wait_for 30 "the cluster to let go" unmanaged
kill_service ha2
wait_for 60 "the refusal" said "fail FAILED: resource 'ha2' is unmanaged or in maintenance"
no_mark() { [[ ! -e $VESPER_HA_LATCHES/ha2.latch ]]; }
wait_for 20 "the mark to be taken away" no_mark
crm_attribute --name maintenance-mode --delete
expect_eq "failures" "$(fail_count ha2)" "$count"

# A guest that the cluster does not run is none of our business.
count=$(fail_count ha2)
crm_resource --resource ha2 --ban --lifetime=PT1H || fail "ban"
gone() { ! guest_running ha2; }
wait_for 60 "the guest's end" gone
guest_start ha2 --smp 1 --mem 320 || fail "the guest does not start by hand"
wait_for 60 "the probes" probes_there
kill_service ha2
wait_for 90 "the refusal" said "fail FAILED: resource 'ha2' runs nowhere; given up"
expect_match "failures" "$(fail_count ha2)" "^$count\$"
guest_running ha2 || fail "the guest was ended"
