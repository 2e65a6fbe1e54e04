#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# time-limit: 480
# The guest of examples/two-nodes under the packaged libvirt, as a resource of
# ocf:heartbeat:VirtualDomain with the shipped monitor script: a paused guest is not
# accused, one that panics is started again, a lost report is found.
# kernel-log: db1 * Kernel panic|sysrq|Call Trace
GUEST=db1
. lib/vesper.sh
. lib/groups.sh
. lib/heartbeat.sh
. lib/cluster.sh
. lib/libvirt.sh

clean_up() {
	local status=$?
	kill "$HA" "$KEEPER" 2>/dev/null
	((status == 0)) || tail -n 30 "$VESPER_WORK"/*log /var/log/libvirt/qemu/db1.log
	libvirt_end
	(exit "$status")
	own_guests_end
}
HA='' KEEPER=''
OWN_GUESTS=(db1)
trap clean_up EXIT

ready() { vesper domains --json | grep '"domain":"db1"' | grep -q '"state":"ready"'; }
boot_id() { vesper domains --json | grep '"domain":"db1"' | grep -o '"boot_id":"[^"]*"'; }
booted_again() { ready && [[ $(boot_id) != "$1" ]]; }
said() { grep -q "$1" "$VESPER_WORK/log"; }

libvirt_setup
virsh create /etc/vesper/db1.xml || fail "libvirt does not start the guest"
expect_eq "the user that QEMU runs as" "$(stat -c %U /proc/"$(cat /run/vesper/db1/pid)")" libvirt-qemu
vesper keep add db1 panic || fail "keep add"
vesper keep run 2>>"$VESPER_WORK/log" &
KEEPER=$!
expect_status 0 vesper-ha check
vesper-ha run 2>>"$VESPER_WORK/log" &
HA=$!
# While it boots. The resource is that of the example; the guest that runs already is
# taken over as it is. With one node it has to be started again there.
cluster_start node1
wait_for 150 "the guest" ready
first=$(boot_id)
cibadmin --modify --allow-create --scope configuration --xml-file "$INSTALLED/cluster.xml" ||
	fail "the cluster does not take the example"
crm_resource --resource db1 --meta --set-parameter migration-threshold --parameter-value 5 ||
	fail "cannot set the threshold"
runs() { [[ $(crm_resource --resource db1 --locate --quiet 2>/dev/null) == node1 ]]; }
wait_for 60 "the resource" runs
probes_there() { vesper list db1 --json | grep -q '"module":"panic".*"state":"live"'; }
wait_for 60 "the probes" probes_there
expect_eq "the boot" "$(boot_id)" "$first"
vesper domains

# virsh suspend, for longer than between two monitors: neither hung for the heartbeat nor
# failed for the cluster.
heartbeat_setup 1s 100ms
virsh suspend db1 || fail suspend
wait_for 10 "libvirt's word" says paused
expect_eq "evidence" "$(heartbeat reason)" run_state
sleep 12
says paused || fail "paused: $(heartbeat_line)"
not_accused "paused by libvirt"
virsh resume db1 || fail resume
wait_for 20 "a beat" says alive idle
not_accused "resumed"
vesper heartbeat db1 --threshold 2s >/dev/null
expect_eq "failures" "$(fail_count db1)" 0
said "db1/guest" && fail "a finding: $(cat "$VESPER_WORK/log")"

# A panic: QEMU and so libvirt's domain go on.
guest_exec db1 "(sleep 0.5; echo c >/proc/sysrq-trigger) &" || fail "the guest does not hear"
wait_for 180 "the guest's next boot" booted_again "$first"
# The cluster's own monitor may see that QEMU is gone, too. If the guest runs again by then,
# this new boot is not failed.
done_so() { grep -qE "fail( FAILED)? after .*: (resource 'db1' failed on node1|the guest has (booted|been started))" <<<"$(vesper-ha explain db1)"; }
wait_for 60 "what was done about it" done_so
vesper-ha explain db1
expect_match "failures" "$(fail_count db1)" '^[12]$'
# It may have been started twice: when QEMU was gone, and when it was failed.
crm_resource --wait --timeout 120 || fail "the cluster does not come to rest"
expect_eq "libvirt's word" "$(virsh domstate db1)" running
wait_for 120 "the guest" ready

# The report is lost: no daemon runs. The monitor of VirtualDomain finds the mark.
second=$(boot_id)
kill -TERM "$HA"
wait "$HA"
cat >/run/vesper-ha/db1.latch <<MARK
{"boot_id":"${second:11:36}","rule":"made up","cause":"for the monitor","time_ns":0}
MARK
# Pacemaker cuts reasons short.
reported() { crm_mon --one-shot --output-as=xml | grep -q 'exitreason=.*made up'; }
wait_for 90 "the monitor's failure" reported
