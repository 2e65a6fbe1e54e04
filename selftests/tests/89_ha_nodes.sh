#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# time-limit: 240
# A cluster of two nodes: a machine check of the host turns its health red, by the
# rules that are shipped, and what runs there moves to the other node while both live.
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
vesper load host any at=t:mce_record urgent=1 || fail "no probe"
vesper-ha run 2>>"$VESPER_WORK/log" &
HA=$!
said() { grep -q "$1" "$VESPER_WORK/log"; }
wait_for 30 "vesper-ha" said 'rules from'

# A corrected error, of software's making.
host_step "machine check"
echo sw >$INJECT/flags
echo 0x9c00000000000000 >$INJECT/status
echo 0 >$INJECT/cpu
echo 1 >$INJECT/bank || fail "cannot inject"

wait_for 60 "the finding" said 'host machine check: host/any: entry'
wait_for 60 "the health" said '#health-vesper=red on node1'
wait_for 60 "the service on the other node" runs_on node2
vesper-ha explain host -n 1
expect_match "what was done" "$(vesper-ha explain host -n 1)" "attribute after .*: #health-vesper=red on node1"
