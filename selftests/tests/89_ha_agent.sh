#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# time-limit: 420
# ocf:heartbeat:VirtualDomain passes the tester of resource agents with the shipped
# monitor script and the guest of examples/two-nodes.
. lib/vesper.sh
. lib/cluster.sh
. lib/libvirt.sh

clean_up() {
	local status=$?
	((status == 0)) || tail -n 30 "$VESPER_WORK"/*log /var/log/libvirt/qemu/db1.log
	libvirt_end
	exit "$status"
}
trap clean_up EXIT

AGENT=/usr/lib/ocf/resource.d/heartbeat/VirtualDomain
libvirt_setup
mkdir -p /run/resource-agents

# The tester also has a guest arrive that was migrated, and waits for it until it is
# there.
ocf-tester -v -n db1 -o config=/etc/vesper/db1.xml -o hypervisor=qemu:///system \
	-o monitor_scripts=/usr/local/bin/vesper-ha-monitor -o force_stop=true \
	-o autoset_utilization_cpu=false -o autoset_utilization_hv_memory=false \
	-o autoset_utilization_host_memory=false $AGENT >"$VESPER_WORK/tester.log" 2>&1 &
TESTER=$!
arrived=
while kill -0 $TESTER 2>/dev/null; do
	if [[ -z $arrived ]] && pgrep -f "$AGENT migrate_from" >/dev/null; then
		virsh create /etc/vesper/db1.xml && arrived=1
	fi
	sleep 0.5
done
wait $TESTER || fail "ocf-tester ended with $?"
grep '^Testing\|^Checking\|passed' "$VESPER_WORK/tester.log"
grep -q "$AGENT passed all tests" "$VESPER_WORK/tester.log" || fail "ocf-tester did not say so"
[[ -n $arrived ]] || fail "ocf-tester did not have a guest arrive"
