#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# time-limit: 660
# The guest of examples/two-nodes under the packaged libvirt, as a resource of
# ocf:heartbeat:VirtualDomain with the shipped monitor script and all of the shipped rules: a
# paused guest is not accused, neither is one that the cluster stops; one that hangs and one
# that panics are started again; a lost report is found.
# kernel-log: db1 * Kernel panic|sysrq|Call Trace|rcu.*(stall|detected)|soft lockup|clocksource
# kernel-log: host * db1: (hung|says that it panics)
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
said() { grep -qE "$1" "$VESPER_WORK/log"; }
# The cluster's own monitor may see that QEMU is gone, too. If the guest runs again by then,
# this new boot is not failed.
failed_for() { # RULE
	said "^$1: db1: fail( FAILED)?: (resource 'db1' failed on node1|the guest has (booted|been started))"
}
is_there() { # MODULE...
	local list module
	list=$(vesper list db1 --json) || return 1
	for module; do grep -q "\"module\":\"$module\".*\"state\":\"live\"" <<<"$list" || return 1; done
}
make_service() {
	guest_exec db1 'printf "#!/bin/sh\nwhile :; do sleep 1; done\n" >/tmp/nginx; chmod +x /tmp/nginx'
}

libvirt_setup
virsh create /etc/vesper/db1.xml || fail "libvirt does not start the guest"
expect_eq "the user that QEMU runs as" "$(stat -c %U /proc/"$(cat /run/vesper/db1/pid)")" libvirt-qemu
vesper keep add db1 panic || fail "keep add"
vesper keep add db1 process points=exit,exec || fail "keep add"
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
crm_resource --resource db1 --meta --set-parameter migration-threshold --parameter-value 20 ||
	fail "cannot set the threshold"
runs() { [[ $(crm_resource --resource db1 --locate --quiet 2>/dev/null) == node1 ]]; }
wait_for 60 "the resource" runs
wait_for 60 "the probes" is_there panic process
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

# The cluster stops it: its power button is pressed. Here the test does what a guest's init
# would, whose services do not all end by themselves.
make_service
role() { crm_resource --resource db1 --meta --set-parameter target-role --parameter-value "$1"; }
role Stopped || fail "the cluster does not take the order"
wait_for 60 "the button" said '^guest is told to power off: db1/guest: powerdown'
# shellcheck disable=SC2016 # the guest's shell is to expand it
guest_exec db1 '
	printf "#!/bin/sh\nsleep 1\nkill -KILL \$(pidof nginx)\nsleep 1\npoweroff -f\n" >/tmp/poweroff
	chmod +x /tmp/poweroff
	/tmp/nginx >/dev/null 2>&1 &
	/tmp/poweroff >/dev/null 2>&1 &'
wait_for 60 "a service to end and nothing to be done" said \
	'^service killed by a signal: db1/process: exit.*; nothing is done: the guest is shutting down'
stopped() { ! runs && [[ $(virsh domstate db1 2>&1) != running ]]; }
wait_for 60 "the guest's end" stopped
role Started || fail "the cluster does not take the order"
wait_for 150 "the guest's next boot" booted_again "$first"
wait_for 60 "the probes" is_there panic process
expect_eq "failures" "$(fail_count db1)" 0
! said '^[^:]*: db1: (fail|destroy)' || fail "an orderly end is acted on"

# It hangs, for a minute.
second=$(boot_id)
vesper load db1 "$FAULT" || fail "cannot load $FAULT"
fault hang 60000
wait_for 60 "the finding" said '^guest hangs: db1/guest: hung'
wait_for 180 "the guest's next boot" booted_again "$second"
wait_for 60 "what was done about it" failed_for "guest hangs"
expect_match "failures" "$(fail_count db1)" '^[12]$'
crm_resource --wait --timeout 120 || fail "the cluster does not come to rest"
wait_for 120 "the probes" is_there panic process

# A panic: QEMU and so libvirt's domain go on.
third=$(boot_id)
guest_exec db1 "(sleep 0.5; echo c >/proc/sysrq-trigger) &" || fail "the guest does not hear"
wait_for 180 "the guest's next boot" booted_again "$third"
wait_for 60 "what was done about it" failed_for "kernel panic"
vesper-ha explain db1
expect_match "failures" "$(fail_count db1)" '^[234]$'
# It may have been started twice: when QEMU was gone, and when it was failed.
crm_resource --wait --timeout 120 || fail "the cluster does not come to rest"
expect_eq "libvirt's word" "$(virsh domstate db1)" running
wait_for 120 "the probes" is_there panic process

# The report is lost: the daemon does not reach the cluster, whose sockets are in another
# network namespace. The monitor of VirtualDomain finds the mark.
kill -TERM "$HA"
wait "$HA"
crm_attribute --name maintenance-mode --update true || fail "maintenance"
sed -i 's/^patience = "2m"/patience = "5s"/' /etc/vesper/ha.toml
unshare --net vesper-ha run 2>>"$VESPER_WORK/log" &
HA=$!
kill_service db1 nginx
wait_for 90 "the end of its patience" said \
	'^service killed by a signal: db1: fail FAILED: .*; given up'
crm_attribute --name maintenance-mode --delete
# Pacemaker cuts reasons short.
reported() { crm_mon --one-shot --output-as=xml | grep -q 'exitreason=.*service killed by a signal'; }
wait_for 90 "the monitor's failure" reported
