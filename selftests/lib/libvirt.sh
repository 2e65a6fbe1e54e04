# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The packaged libvirt in the host VM, without systemd, and the guest of
# examples/two-nodes under it. Sourced behind vesper.sh.

. "$TOP/env/lib/guest-words.sh"
EXAMPLES=$TOP/examples/two-nodes
export LIBVIRT_DEFAULT_URI=qemu:///system

libvirt_setup() {
	libvirt_host
	cp "$EXAMPLES/db1.xml" /etc/vesper/
	cat /usr/local/share/vesper/ha.toml $INSTALLED/ha.toml >/etc/vesper/ha.toml
	cat "$EXAMPLES/qemu.conf" >>/etc/libvirt/qemu.conf
	libvirt_domain db1
	libvirt_daemons "$VESPER_WORK"
}

# What an administrator has done on each host, see Documentation/host-setup.md.
libvirt_host() {
	# What the udev rule does; there is no udev here.
	chgrp kvm /dev/vesper-attach /dev/kvm || fail "no group kvm"
	chmod 660 /dev/vesper-attach /dev/kvm
	# This QEMU was not installed: it has to be told where its files are.
	cat >/usr/local/bin/qemu-system-x86_64 <<-'QEMU'
		#!/bin/sh
		exec /opt/vesper/qemu/qemu-system-x86_64 -L /usr/share/seabios -L /usr/share/qemu "$@"
	QEMU
	chmod 755 /usr/local/bin/qemu-system-x86_64
	# libvirt would start Debian's as well, to learn what they can do, for half a minute.
	rm -f /usr/bin/qemu-system-*
	mountpoint -q /sys/fs/cgroup || mount -t cgroup2 cgroup /sys/fs/cgroup || fail "no cgroups"
	modprobe -a tun bridge || fail "no modules for the guest's network"
	ip link add br0 type bridge || fail "no bridge"
	ip link set br0 up
	rm -rf /srv/guests /run/vesper/db1
	mkdir -p /etc/vesper /srv/guests
	libvirt_install
	truncate -s 16M /srv/guests/db1.img
	LIBVIRT_PIDS=()
}

# The example's domain, where it was copied to, with the kernel of the selftests in the
# place of a disk that one could boot from, and with the agent that guest_exec talks to.
libvirt_domain() { # NAME
	# Files that libvirt's QEMU, which is another user, can get at.
	local dir=/run/vesper/$1 files=/srv/guests/$1.test
	mkdir -p "$dir" "$files"
	mkfifo "$files/agent.in" "$files/agent.out"
	: >"$files/console"
	cp "$GUEST_TOP/build/guest.vmlinuz" "$GUEST_TOP/build/guest.cpio" "$files/"
	ln -sf "$files"/agent.* "$files/console" "$dir/"
	ln -sf "/run/libvirt/qemu/$1.pid" "$dir/pid"
	sed -i -e "s|<boot dev='hd'/>|<kernel>$files/guest.vmlinuz</kernel>\
<initrd>$files/guest.cpio</initrd>\
<cmdline>$guest_words vesper.name=$1</cmdline>|" \
		-e "s|<serial type='pty'/>|<console type='file'><source path='$files/console' append='on'/>\
<target type='virtio'/></console><channel type='pipe'><source path='$files/agent'/>\
<target type='virtio' name='vesper.agent'/></channel>|" \
		"/etc/vesper/$1.xml"
	expect_eq "places of the example that were changed" \
		"$(grep -cE "<kernel>|vesper.agent" "/etc/vesper/$1.xml")" 2
}

# What of 'make install' is needed, where it is installed by default.
libvirt_install() {
	local file
	INSTALLED=/usr/local/share/vesper/examples/two-nodes
	ln -sf "$TOP/build/bin/vesper" "$TOP/build/bin/vesper-ha" /usr/local/bin/
	mkdir -p $INSTALLED
	for file in "$EXAMPLES"/* "$TOP/host/vesper-ha-monitor"; do
		sed 's|@PREFIX@|/usr/local|' "$file" >"$INSTALLED/${file##*/}"
	done
	install -m 755 $INSTALLED/vesper-ha-monitor /usr/local/bin/
	install -m 644 "$TOP/tools/vesper-ha/ha.toml" /usr/local/share/vesper/
}

libvirt_daemons() { # DIRECTORY-FOR-LOGS [PREFIX...]
	local dir=$1 daemon
	shift
	for daemon in virtlogd libvirtd; do
		"$@" $daemon >"$dir/$daemon.log" 2>&1 &
		LIBVIRT_PIDS+=($!)
	done
	wait_for 60 "libvirtd" "$@" virsh version
}

# The same on node2 of lib/cluster.sh, with network and state of its own.
libvirt_node2() {
	node2 mount -t tmpfs -o mode=755 none /var/lib/libvirt || fail "no place for node2's libvirt"
	node2 ip link add br0 type bridge || fail "no bridge on node2"
	node2 ip link set br0 up
	mkdir "$VESPER_WORK/node2.libvirt"
	libvirt_daemons "$VESPER_WORK/node2.libvirt" node2
}
node2() { nsenter --target "$NODE2" --mount --root --net --uts --wdns=/ "$@"; }

# The cluster, if there is one, leaves the guest to whoever ends it: a graceful end,
# which a guest of the selftests does not know, would take its time-out.
libvirt_end() {
	local file
	if [[ -n ${PACEMAKER:-} ]]; then
		crm_attribute --name maintenance-mode --update true
		wait_for 30 "the cluster to let go" unmanaged
	fi
	for file in /run/libvirt/qemu/db1.pid "/proc/${NODE2:-none}/root/run/libvirt/qemu/db1.pid"; do
		[[ ! -s $file ]] || kill -KILL "$(<"$file")"
	done
	cluster_stop
	kill "${LIBVIRT_PIDS[@]}" 2>/dev/null
	wait "${LIBVIRT_PIDS[@]}" 2>/dev/null
	ip link del br0
	cp /srv/guests/db1.test/console "$VESPER_LOG/db1-console.log"
	rm -rf /etc/vesper /run/vesper-ha /var/lib/vesper-ha
}
unmanaged() { crm_mon --one-shot --output-as=xml | grep -q 'maintenance-mode="true"'; }
