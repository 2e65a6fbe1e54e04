#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A CPU is added to a guest that had but one, under a probe that streams: it gets its
# buffer, its records are read, the heartbeat knows it, and the first CPU's records
# are all there. It is taken out again, and put back, with a record left in its open
# sub-buffer each time: it is not accused of being silent, and goes on in the same file.
. lib/vesper.sh
. lib/heartbeat.sh
own_guest added --smp 1,maxcpus=2

online=/sys/devices/system/cpu/cpu1/online
load_stream
expect_eq "files" "$(ls "$RELAY/$GUEST/vesper_seq")" $'cpu0\nmetadata'
copy=$VESPER_WORK/copy
mkdir "$copy"
cp "$RELAY/$GUEST/vesper_seq/metadata" "$copy/"
relay_map --follow "$(relay_file vesper_seq 0)" >"$copy/stream0" &
FOLLOWERS=($!)
wait_for 20 "the mapping" grep -q vesper_seq/cpu0 "/proc/${FOLLOWERS[0]}/maps"

# Where there is none yet.
cpu=$(guest_qmp "$GUEST" '{"execute":"query-hotpluggable-cpus"}' | python3 -c '
import json, sys

for line in sys.stdin:
    places = json.loads(line).get("return")
    for place in places if isinstance(places, list) else []:
        if "qom-path" not in place:
            print(json.dumps({"driver": place["type"], "id": "more", **place["props"]}))')
[[ -n $cpu ]] || fail "no place for another CPU"
note "$cpu"
plug() {
	guest_qmp "$GUEST" "{\"execute\":\"device_add\",\"arguments\":$cpu}" || fail "device_add"
	wait_for 60 "the guest to see the CPU" guest_exec "$GUEST" "test -e $online"
}
gone() { guest_exec "$GUEST" "! test -e $online"; }
unplug() {
	guest_qmp "$GUEST" '{"execute":"device_del","arguments":{"id":"more"}}' || fail "device_del"
	wait_for 60 "the guest to let go of the CPU" gone
}
plug
expect_eq "files" "$(ls "$RELAY/$GUEST/vesper_seq")" $'cpu0\nmetadata'
guest_exec "$GUEST" "echo 1 >$online" || fail "the CPU does not come"
wait_for 20 "the file of CPU 1" test -e "$(relay_file vesper_seq 1)"
relay_tail "$(relay_file vesper_seq 1)" >"$copy/stream1" &
FOLLOWERS+=($!)
wait_for 20 "the open file" test "/proc/${FOLLOWERS[1]}/fd/3" -ef "$(relay_file vesper_seq 1)"
seq_write 1 100
beating() { [[ $(heartbeat cpus) == "$1" ]]; }
wait_for 20 "the heartbeat of both" beating 2

for _ in 1 2; do
	unplug
	wait_for 20 "the heartbeat of one" beating 1
	plug
	guest_exec "$GUEST" "echo 1 >$online" || fail "the CPU does not come back"
	wait_for 20 "the heartbeat of both" beating 2
	seq_write 1 5
done
expect_eq "hangs and stucks" "$(heartbeat hangs) $(heartbeat stucks)" "0 0"

first=$(seq_number 0) second=$(seq_number 1)
((second >= 110)) || fail "CPU 1 has written $second records"
expect_eq "lost" "$(guest_count vesper_seq lost all)" 0
unload vesper_seq
followed
babeltrace "$copy" | seq_check 0="$first"+ 1="$second"+ || fail "records"
still_works
