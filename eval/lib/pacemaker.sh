# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The ways 'pacemaker' and 'vesper': a guest with a web server is a resource of a cluster
# of two nodes, and is asked every ten seconds whether its VMM runs and whether the page
# comes. Sourced behind selftests/lib/cluster.sh.

JOURNAL=$VESPER_WORK/actions
MONITOR_PAGE=$TOP/eval/monitor-page

pacemaker_up() {
	[[ -z ${PACEMAKER:-} ]] || return 0
	cluster_start node1 node2
	cp "$TOP/eval/agent" /usr/lib/ocf/resource.d/vesper-test/web
	lan_extend "$NODE2"
	wait_for 180 "both nodes to be online" both_online
	# What careful people have where a sign of a host's collapse may come.
	crm_attribute --type crm_config --name node-health-strategy --update migrate-on-red ||
		fail "no health strategy"
}
both_online() {
	[[ $(crm_mon --one-shot --output-as=xml | grep -c '<node name=.* online="true"') == 2 ]]
}

resource_add() { # MONITOR-SCRIPTS
	cibadmin --create --scope resources --xml-text "
		<primitive id='web1' class='ocf' provider='vesper-test' type='web'>
			<meta_attributes id='web1-m'>
				<nvpair id='web1-t' name='migration-threshold' value='1'/>
			</meta_attributes>
			<instance_attributes id='web1-a'>
				<nvpair id='web1-g' name='guest' value='web1'/>
				<nvpair id='web1-p' name='program' value='$TOP/eval/guest'/>
				<nvpair id='web1-j' name='journal' value='$JOURNAL'/>
				<nvpair id='web1-s' name='monitor_scripts' value='$1'/>
			</instance_attributes>
			<operations>
				<op id='web1-start' name='start' interval='0' timeout='300s'/>
				<op id='web1-stop' name='stop' interval='0' timeout='60s'/>
				<op id='web1-monitor' name='monitor' interval='10s' timeout='30s'/>
			</operations>
		</primitive>" || fail "the cluster does not take the guest"
	cibadmin --create --scope constraints --xml-text \
		"<rsc_location id='home' rsc='web1' node='node1' score='100'/>" || fail "no preference"
}

resource_remove() {
	crm_resource --resource web1 --meta --set-parameter target-role --parameter-value Stopped
	crm_resource --wait --timeout=120 || fail "the guest does not end"
	# While the resource is known: else its failures would be those of the next one.
	crm_resource --cleanup --resource web1
	cibadmin --delete --scope constraints --xml-text "<rsc_location id='home'/>"
	cibadmin --delete --scope resources --xml-text "<primitive id='web1'/>"
	crm_resource --wait --timeout=120
	! pgrep -f -- '-name web1 ' >/dev/null || fail "a guest is left"
} >>"$VESPER_WORK/cluster.out" 2>&1

# ---- vesper -----------------------------------------------------------------

ha_start() { # FAULT
	export VESPER_HA_CONFIG=$TOP/eval/ha.toml VESPER_HA_STATE=$VESPER_WORK/ha
	export VESPER_HA_LATCHES=/run/vesper-ha VESPER_KEEP=$VESPER_WORK/keep.toml
	rm -rf "$VESPER_HA_STATE" "$VESPER_HA_LATCHES" "$VESPER_KEEP"
	WATCHED='web1/panic web1/process web1/signal web1/memory web1/blockio'
	vesper keep add web1 panic
	vesper keep add web1 process points=exit
	vesper keep add web1 signal comm=nginx
	vesper keep add web1 memory points=oom,victim
	vesper keep add web1 block points=error
	[[ $1 != machine-check ]] || {
		insmod "$HOST_TOP/guest/vesper_guest.ko" || fail "no vesper_guest on the host"
		insmod "$HOST_TOP/local/vesper_local.ko" || fail "the host does not become a domain"
		# shellcheck disable=SC2016 # as the rules have it
		vesper keep add host any at=t:mce_record,t:mc_event urgent=1 \
			'args=status=+0($arg1):x64,type=$arg1:u32'
		WATCHED+=' host/any'
	}
	vesper keep run >"$VESPER_LOG/keep.log" 2>&1 &
	KEEPER=$!
	vesper-ha run 2>>"$VESPER_LOG/vesper-ha.log" &
	HA=$!
}

ha_stop() {
	[[ -n ${HA:-} ]] || return 0
	kill "$HA" "$KEEPER"
	wait "$HA" "$KEEPER"
	HA='' KEEPER=''
	[[ $WATCHED == *host* ]] || return 0
	attrd_updater --name '#health-vesper' --delete --node node1
	vesper unload host any
	GUEST=host read_away
	rmmod vesper_local vesper_guest || fail "the host stays a domain"
}

probes_live() {
	local probe
	for probe in $WATCHED; do
		grep -q "\"module\":\"${probe#*/}\".*\"state\":\"live\"" <<<"$(vesper list "${probe%/*}" --json)" || return 1
	done
}

# ---- a run ------------------------------------------------------------------

pacemaker_run() { # FAULT WAY
	local scripts=$MONITOR_PAGE
	pacemaker_up
	: >"$JOURNAL"
	[[ $2 != vesper ]] || {
		ha_start "$1"
		scripts+=" $TOP/eval/monitor-mark"
	}
	client_start
	resource_add "$scripts"
	wait_for 300 "the page" is_up
	[[ $2 != vesper ]] || wait_for 180 "the probes" probes_live
	wait_for 90 "the first monitor" monitored
	[[ $2 != vesper || $1 != hang ]] ||
		vesper heartbeat web1 --threshold 500ms --period 50ms >/dev/null
	fault_arm "$1" web1
	# At no particular time between two monitors.
	sleep $((RANDOM % 10)).$((RANDOM % 10))
	is_up || fail "the page is gone before the fault"
	FAULT=$1 FAULT_AT=$(fault_do "$1" web1)
	wait_out "$2"
	{
		echo "{\"event\":\"fault\",\"at_ns\":$FAULT_AT}"
		cat "$JOURNAL"
		[[ $2 != vesper ]] ||
			echo "{\"event\":\"explain\",\"found\":$(vesper-ha explain -n 100 --json | tr -d '\n')}"
	} >>"$RUN"
	client_stop
	resource_remove
	ha_stop
	read_away
}

monitored() { grep -q '"monitor"' "$JOURNAL"; }
pacemaker_noticed() { awk -v from="$FAULT_AT" '
	/"monitor"/ && !/"status":0}/ { match($0, /"at_ns":[0-9]+/)
		if (substr($0, RSTART + 8, RLENGTH - 8) + 0 >= from + 0) found = 1 }
	END { exit !found }' "$JOURNAL"; }
vesper_noticed() {
	[[ $(vesper-ha explain -n 100 --json | vesper-eval noticed "$FAULT" --since "$FAULT_AT") == yes ]]
}
