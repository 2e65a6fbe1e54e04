#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# time-limit: 420
# Documentation/tutorial-failover.md, command by command, as it stands there, on two
# nodes, each with a libvirt and a Pacemaker: a guest that panics runs on the other node.
# kernel-log: db1 * Kernel panic|sysrq|Call Trace
GUEST=db1
. lib/vesper.sh
. lib/groups.sh
. lib/cluster.sh
. lib/libvirt.sh

clean_up() {
	local status=$?
	# Commands have it redirected.
	exec >&3 2>&1
	cd "$TOP/selftests" || exit
	kill "${DAEMONS[@]}" 2>/dev/null
	((status == 0)) || tail -n 30 "$VESPER_WORK"/*log "$VESPER_WORK"/*/*.log
	libvirt_end
	(exit "$status")
	own_guests_end
}
OWN_GUESTS=(db1) DAEMONS=()
exec 3>&1
trap clean_up EXIT

ready() { vesper domains --json | grep '"domain":"db1"' | grep -q '"state":"ready"'; }
boot_id() { vesper domains --json | grep '"domain":"db1"' | grep -o '"boot_id":"[^"]*"'; }
booted_again() { ready && [[ $(boot_id) != "$1" ]]; }
runs_on() { [[ $(crm_resource --resource db1 --locate --quiet 2>/dev/null) == "$1" ]]; }
both_there() { [[ $(crm_mon --one-shot --output-as=xml | grep -c '<node name="node[12]".* online="true"') == 2 ]]; }
probes_there() { vesper list db1 --json | grep -q '"module":"panic".*"state":"live"'; }

# What there is in the place of packages and of systemd.
apt() { note "packages are here: ${*:2}"; }
systemctl() {
	local here=$PWD
	cd "$TOP/selftests" || exit
	case $* in
	*libvirtd)
		libvirt_domain db1
		libvirt_daemons "$VESPER_WORK"
		;;
	*corosync*)
		cluster_start node1 node2
		wait_for 90 "both nodes" both_there
		libvirt_node2
		;;
	*vesper-ha*)
		# One kernel has both nodes' guests: its records are read once.
		vesper keep run 2>>"$VESPER_WORK/log" &
		DAEMONS+=($!)
		vesper-ha run 2>>"$VESPER_WORK/log" &
		DAEMONS+=($!)
		;;
	*) fail "systemctl $*" ;;
	esac
	cd "$here" || exit
}
# The reader waits a moment before the resource is asked for.
settled() {
	wait_for 120 "the guest on $1" runs_on "$1"
	wait_for 150 "the guest" booted_again "$first"
	wait_for 60 "its probes" probes_there
	# guest_exec is told where QEMU is.
	if [[ $1 == node2 ]]; then
		ln -sf "/proc/$NODE2/root/run/libvirt/qemu/db1.pid" /run/vesper/db1/pid
	fi
}
run() {
	local type=$1
	shift
	echo "$type# $*"
	if [[ $type == node2 ]]; then
		# shellcheck disable=SC2294 # as a shell would take it
		set -- node2 bash -c "$*"
		"$@" >"$VESPER_WORK/said.log" 2>&1
	elif [[ $type == db1 ]]; then
		guest_exec db1 "(sleep 0.5; $*) &" >"$VESPER_WORK/said.log" 2>&1
	else
		eval "$*" >"$VESPER_WORK/said.log" 2>&1
	fi || fail "it fails: $(cat "$VESPER_WORK/said.log")"
	cat "$VESPER_WORK/said.log"
}

libvirt_host
mapfile -t lines < <(sed -nE 's/^    ((both|node1|node2|db1)# )/\1/p' ../Documentation/tutorial-failover.md)
((${#lines[@]} > 15)) || fail "no commands in the tutorial"
home=node1 first=
for line in "${lines[@]}"; do
	case $line in
	*--locate) settled $home ;;
	db1#*)
		first=$(boot_id)
		home=node2
		;;
	esac
	run "${line%%\# *}" "${line#*\# }"
	case $line in
	*--locate) expect_match "where it runs" "$(<"$VESPER_WORK/said.log")" "running on: $home\$" ;;
	*explain*) expect_match "what was done" "$(<"$VESPER_WORK/said.log")" "fail after .*: resource 'db1' failed on node1" ;;
	node2*domstate*) expect_match "libvirt on node2" "$(<"$VESPER_WORK/said.log")" '^running' ;;
	esac
done
expect_eq "libvirt on node1" "$(virsh list --all --name | grep -c db1)" 0
guest_exec db1 true || fail "the guest does not answer"
