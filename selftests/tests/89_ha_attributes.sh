#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What vesper-ha has set on the node, an attribute and the node's health, is set again when
# Pacemaker has started anew and forgotten it, by the same daemon and without another event;
# until an operator clears it.
. lib/vesper.sh
. lib/groups.sh
. lib/cluster.sh

export VESPER_HA_CONFIG=$VESPER_WORK/ha.toml VESPER_HA_STATE=$VESPER_WORK/state
export VESPER_HA_LATCHES=$VESPER_WORK/latches
cat >"$VESPER_HA_CONFIG" <<RULES
[[rule]]
name = "killed"
probe = "process"
event = "exit"
where = { comm = "service", signal = "!=none" }
attribute = { name = "trouble-%g" }
health = "red"
RULES
ON_EXIT=(process)
clean_up() {
	local status=$?
	kill -CONT "$HA" 2>/dev/null
	kill "$HA" 2>/dev/null
	((status == 0)) || tail -n 30 "$VESPER_WORK"/*log
	cluster_stop
	unload_all
	exit "$status"
}
trap clean_up EXIT

cluster_start node1
load_group process points=exit
vesper-ha run 2>>"$VESPER_WORK/log" &
HA=$!
said() { grep -q "$1" "$VESPER_WORK/log"; }
wait_for 30 "vesper-ha" said 'rules from'
# What the cluster goes by, not what it was told.
on_node() { crm_attribute --node node1 --name "$1" --lifetime reboot --query --quiet 2>/dev/null; }
both_set() { [[ $(on_node "trouble-$GUEST") == 1 && $(on_node '#health-vesper') == red ]]; }
kill_service "$GUEST"
wait_for 60 "attribute and health" both_set
# It is asked for both, and nothing is set again and again.
count() { grep -cE '^[^ ]+=[^ ]+ on node1$' "$VESPER_WORK/log"; }
sleep 7
expect_eq "times that they were set" "$(count)" 2

# The daemon is held for a while, to see that the cluster does forget.
none_set() { [[ -z $(on_node "trouble-$GUEST")$(on_node '#health-vesper') ]]; }
kill -STOP "$HA"
pacemaker_stop
PACEMAKER=
pacemaker_start
wait_for 60 "the cluster to have forgotten both" none_set
kill -CONT "$HA"
wait_for 90 "attribute and health after the cluster's start" both_set
note "$(cat "$VESPER_WORK/log")"
for what in "trouble-$GUEST=1" '#health-vesper=red'; do
	(($(grep -c "^$what on node1\$" "$VESPER_WORK/log") > 1)) || fail "$what was not set again"
done
kill -0 "$HA" || fail "vesper-ha has ended"

vesper-ha clear "$GUEST"
wait_for 60 "their end" none_set
# And they stay away.
sleep 7
none_set || fail "they are set again: $(tail -n 5 "$VESPER_WORK/log")"
kill -TERM "$HA"
wait "$HA" || fail "vesper-ha ended with $?"
