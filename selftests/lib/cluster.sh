# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# A cluster in the host VM, without systemd: of the VM itself, node1, and, if asked for,
# of a node2 that has network, name and files of its own. Sourced behind vesper.sh.

CLUSTER_NODE=node1

cluster_start() { # [with node2]
	local address=127.0.0.1 other=
	if [[ $* == *node2* ]]; then
		address=10.77.0.1
		other="node {
				name: node2
				nodeid: 2
				ring0_addr: 10.77.0.2
			}"
		ip link add node1 type veth peer name node2 || fail "no link between the nodes"
		ip addr add $address/24 dev node1
		ip link set node1 up
	fi
	mkdir -p /run/crm /run/resource-agents /var/log/{corosync,pacemaker} /var/lib/corosync \
		/usr/lib/ocf/resource.d/vesper-test
	cp cluster/guest-agent /usr/lib/ocf/resource.d/vesper-test/guest
	cat >/etc/corosync/corosync.conf <<-CONF
		totem {
			version: 2
			cluster_name: vesper
			transport: knet
			# An emulated host on a busy machine stands still for seconds at times.
			token: 30000
		}
		nodelist {
			node {
				name: $CLUSTER_NODE
				nodeid: 1
				ring0_addr: $address
			}
			$other
		}
		quorum {
			provider: corosync_votequorum
			two_node: $([[ -z $other ]] && echo 0 || echo 1)
			wait_for_all: 0
		}
		logging {
			to_logfile: yes
			logfile: $VESPER_WORK/corosync.log
		}
	CONF
	# Without these, a node waits 20 seconds for others, and for fencing for ever.
	local cib=/var/lib/pacemaker/cib/cib.xml property
	install -d -o hacluster -g haclient -m 750 /var/lib/pacemaker/cib
	rm -f "$cib"*
	cibadmin --empty >"$cib" || fail "no CIB"
	for property in stonith-enabled=false dc-deadtime=1s no-quorum-policy=ignore; do
		CIB_file=$cib crm_attribute --type crm_config --name "${property%=*}" \
			--update "${property#*=}" || fail "cannot set $property"
	done
	rm -f "$cib".sig
	chown hacluster:haclient "$cib"
	chmod 600 "$cib"
	ip link set lo up
	hostname "$CLUSTER_NODE"
	# A copy of the settings, but of nothing that a node writes.
	[[ -z $other ]] || node2_start
	corosync -f >"$VESPER_WORK/corosync.out" 2>&1 &
	COROSYNC=$!
	wait_for 30 "corosync" corosync-cfgtool -s
	pacemaker_start
}

node2_start() {
	unshare --mount --net --uts bash cluster/node "$VESPER_WORK" >"$VESPER_WORK/node2.log" 2>&1 &
	NODE2=$!
	# The process is in its namespaces when its name is.
	wait_for 20 "node2" test -e "$VESPER_WORK/node2.ready"
	ip link set node2 netns $NODE2 || fail "node2 gets no network"
}

pacemaker_start() {
	pacemakerd -f >"$VESPER_WORK/pacemaker.log" 2>&1 &
	PACEMAKER=$!
	wait_for 90 "the node" online
}

# Either node may be the one that decides.
online() {
	local status
	status=$(crm_mon --one-shot --output-as=xml) &&
		[[ $status == *'<current_dc present="true"'* ]] &&
		grep -q "name=\"$CLUSTER_NODE\".* online=\"true\"" <<<"$status"
}

pacemaker_stop() {
	kill -TERM "$PACEMAKER"
	wait "$PACEMAKER"
}

cluster_stop() {
	[[ -z ${NODE2:-} ]] || {
		kill -TERM "$NODE2"
		wait "$NODE2"
	}
	[[ -z ${PACEMAKER:-} ]] || pacemaker_stop
	[[ -z ${COROSYNC:-} ]] || {
		kill -TERM "$COROSYNC"
		wait "$COROSYNC"
	}
}

# A guest as a resource of the same name, which is started at once.
cluster_guest() { # NAME INTERVAL
	cibadmin --create --scope resources --xml-text "
		<primitive id='$1' class='ocf' provider='vesper-test' type='guest'>
			<instance_attributes id='$1-a'>
				<nvpair id='$1-g' name='guest' value='$1'/>
				<nvpair id='$1-p' name='program' value='$TOP/env/guest-vm'/>
				<nvpair id='$1-m' name='monitor_scripts' value='$VESPER_WORK/monitor'/>
			</instance_attributes>
			<operations>
				<op id='$1-start' name='start' interval='0' timeout='180s'/>
				<op id='$1-stop' name='stop' interval='0' timeout='60s'/>
				<op id='$1-monitor' name='monitor' interval='$2' timeout='60s'/>
			</operations>
		</primitive>"
}

# Failures of a resource that the cluster has counted here.
fail_count() { # RESOURCE
	local found
	found=$(crm_failcount --query --resource "$1" --node "$CLUSTER_NODE" 2>/dev/null)
	echo "${found##*value=}"
}
