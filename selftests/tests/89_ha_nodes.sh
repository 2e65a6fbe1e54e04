#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# time-limit: 300
# A cluster of two nodes: a machine check of the host, or an error of its memory that EDAC
# reports, turns its health red, by the rules that are shipped, and what runs there moves
# to the other node while both live; a corrected error does not. A guest whose resource
# runs on the other node, or is not managed, is left alone.
# kernel-log: host * Machine [Cc]heck
. lib/vesper.sh
. lib/groups.sh
. lib/host_domain.sh
. lib/cluster.sh

export VESPER_HA_CONFIG=$TOP/tools/vesper-ha/ha.toml VESPER_HA_STATE=$VESPER_WORK/state
export VESPER_HA_LATCHES=$VESPER_WORK/latches
INJECT=/sys/kernel/debug/mce-inject

clean_up() {
	local status=$?
	kill "$HA" 2>/dev/null
	((status == 0)) || tail -n 20 "$VESPER_WORK"/*log
	cluster_stop
	rmmod vesper_edac 2>/dev/null
	"$TOP/env/guest-vm" kill ha4 >/dev/null 2>&1
	(exit $status)
	host_domain_end
}

host_domain_up
host_domain
modprobe mce_inject || fail "no mce_inject"
trap clean_up EXIT
cluster_start node1 node2
crm_attribute --type crm_config --name node-health-strategy --update migrate-on-red ||
	fail "no health strategy"
cibadmin --create --scope resources --xml-text \
	"<primitive id='service' class='ocf' provider='heartbeat' type='Dummy'/>" || fail "no resource"
cibadmin --create --scope constraints --xml-text \
	"<rsc_location id='home' rsc='service' node='node1' score='100'/>" || fail "no preference"
where() { crm_resource --resource service --locate --quiet 2>/dev/null; }
runs_on() { [[ $(where) == "$1" ]]; }
both() { [[ $(crm_node --list | grep -c member) == 2 ]]; }
wait_for 90 "both nodes" both
wait_for 60 "the service at home" runs_on node1

expect_status 0 vesper-ha check
expect_match "advice" "$OUTPUT" "host: probe 'any' is not loaded; 'vesper keep add host any' loads it"
# shellcheck disable=SC2016 # as the rules have it
vesper load host any at=t:mce_record,t:mc_event urgent=1 'args=status=+0($arg1):x64,type=$arg1:u32' ||
	fail "no probe"
vesper-ha run 2>>"$VESPER_WORK/log" &
HA=$!
said() { grep -q "$1" "$VESPER_WORK/log"; }
wait_for 30 "vesper-ha" said 'rules from'

# A corrected error, of software's making, and one that was not.
machine_check() { # STATUS
	host_step "machine check $1"
	echo sw >$INJECT/flags
	echo "$1" >$INJECT/status
	echo 0 >$INJECT/cpu
	echo 1 >$INJECT/bank || fail "cannot inject"
}
machine_check 0x9c00000000000000
sleep 3
runs_on node1 || fail "the service has moved because of a corrected error"
machine_check 0xbc00000000000000

wait_for 60 "the finding" said 'host machine check: host/any: entry'
wait_for 60 "the health" said '#health-vesper=red on node1'
wait_for 60 "the service on the other node" runs_on node2
vesper-ha explain host -n 10
expect_match "what was done" "$(vesper-ha explain host -n 1)" \
	"attribute #health-vesper after .*: #health-vesper=red on node1"
expect_eq "findings" "$(grep -c 'host machine check: host/any' "$VESPER_WORK/log")" 1
# The operator has seen to it.
cleared() { (($(grep -c '#health-vesper taken back on node1' "$VESPER_WORK/log") == $1)); }
vesper-ha clear host
wait_for 60 "the health's end" cleared 1
wait_for 60 "the service at home again" runs_on node1

# The same by EDAC, as the driver of a memory controller reports it.
insmod "$HOST_TOP/selftests/modules/vesper_edac/vesper_edac.ko" || fail "no vesper_edac"
memory_error() { # corrected|uncorrected
	host_step "memory error, $1"
	taskset -c 0 sh -c "echo $1 >/sys/module/vesper_edac/parameters/error" ||
		fail "no error is reported"
}
# In the order of one CPU: when the second is found, the first has been judged.
memory_error corrected
memory_error uncorrected
wait_for 60 "the finding" said 'host memory error: host/any: entry'
wait_for 60 "the service on the other node" runs_on node2
expect_eq "findings" "$(grep -c 'host memory error: host/any' "$VESPER_WORK/log")" 1
expect_match "which of the two" "$(vesper-ha explain host -n 1 --json)" '"type": ?1[,}]'
rmmod vesper_edac || fail "vesper_edac stays"
vesper-ha clear host
wait_for 60 "the health's end" cleared 2
wait_for 60 "the service at home again" runs_on node1
kill -TERM "$HA"
wait "$HA" || fail "vesper-ha ended with $?"

# A guest here whose resource runs there.
crm_resource --resource service --move --node node2 || fail "cannot move the service"
wait_for 60 "the service on the other node" runs_on node2
export VESPER_HA_CONFIG=$VESPER_WORK/ha.toml VESPER_HA_STATE=$VESPER_WORK/state2
cat >"$VESPER_HA_CONFIG" <<RULES
[guests.ha4]
resource = "service"
[[rule]]
name = "killed"
probe = "process"
event = "exit"
where = { comm = "service", signal = "!=none" }
destroy = true
fail = true
RULES
guest_start ha4 --smp 1 --mem 320 || fail "the guest does not start"
GUEST=ha4 load_group process points=exit
vesper-ha run 2>>"$VESPER_WORK/log" &
HA=$!
wait_for 30 "vesper-ha" said "rules from $VESPER_HA_CONFIG"
kill_service ha4
wait_for 60 "one refusal" said "destroy FAILED: resource 'service' does not run on this node, node1"
wait_for 60 "the other" said "fail FAILED: resource 'service' does not run on this node, node1"
guest_running ha4 || fail "the guest was ended"
expect_eq "where it runs" "$(where)" node2

# It runs here, but the cluster is not to touch it.
crm_resource --resource service --move --node node1 || fail "cannot move the service"
wait_for 60 "the service at home" runs_on node1
crm_resource --resource service --meta --set-parameter is-managed --parameter-value false ||
	fail "cannot set is-managed"
unmanaged() { crm_mon --one-shot --inactive --output-as=xml | grep 'id="service"' | grep -q 'managed="false"'; }
wait_for 20 "the cluster's word" unmanaged
vesper-ha clear ha4
wait_for 20 "the word to arrive" said 'ha4: cleared'
kill_service ha4
wait_for 60 "the refusal" said "destroy FAILED: resource 'service' is unmanaged or in maintenance"
guest_running ha4 || fail "the guest was ended"
kill -TERM "$HA"
wait "$HA" || fail "vesper-ha ended with $?"
