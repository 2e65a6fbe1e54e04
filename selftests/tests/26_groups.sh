#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Groups of probe points: listed, loaded by name in the build for the guest's
# kernel, several at once, all at once; what can't be attached, what there is not and what is
# not built is told, with what to do.
. lib/record.sh
all=(signal process memory sched net blockio fs panic any)
unload_on_exit "${all[@]}"
trap record_exit EXIT

# The guest's kernel, which need not be the host's, and one that there is not.
release=$(guest_exec "$GUEST" "uname -r")
version=${release%%[!0-9.]*}
# Of the same length, as it is put into a module.
other=${version//[0-9]/6}${release#"$version"}
# In a regular expression.
released=${release//+/\\+}
listed=$(vesper probes)
# What operators call them; the one module has another name.
groups=("${all[@]/blockio/block}")
for group in "${groups[@]}"; do
	expect_match "the list of groups" "$listed" $'\n'"$group +[^ ]+ +$released "
	vesper probes "$group" >"$VESPER_WORK/probes.$group" || fail "group $group is not described"
done
described=$(vesper probes process)
for line in '  \* exit +A process ends' '  exit +A process or thread ends' \
	'    code +U8 +What it returned' '  failed=false +bool '; do
	expect_match "the description of a group" "$described" $'\n'"$line"
done
# shellcheck disable=SC2016 # it is Python
vesper probes --json | python3 -c '
import json, sys
groups = {g["group"]: g for g in json.load(sys.stdin)}
points = {p["name"]: p["default"] for p in groups["process"]["points"]}
assert points["exit"] is True, points
fields = {e["name"]: [f["name"] for f in e["fields"]] for e in groups["process"]["events"]}
assert "signal" in fields["exit"], fields

# Of each group all that there is, in words, on the screen; its points also on its page.
work, top, *wanted = sys.argv[1:]
assert sorted(groups) == sorted(wanted), groups.keys()
for name, group in groups.items():
    shown = open(f"{work}/probes.{name}").read()
    page = open(f"{top}/Documentation/probes/{name}.md").read()
    for point in group["points"]:
        assert point["text"] and point["text"] in shown, (name, point)
        assert "`%s`" % point["name"] in page or "`%s=`" % point["name"] in page, (name, point)
    for event in group["events"]:
        assert event["text"] and event["text"] in shown, (name, event)
        assert event["fields"], (name, event)
        for field in event["fields"]:
            assert field["text"] and field["text"] in shown, (name, event["name"], field)
    for param in group["params"]:
        assert param["text"] and param["text"] in shown, (name, param)
' "$VESPER_WORK" "$TOP" "${groups[@]}" || fail "the list as JSON"

# Two at once, each with its own parameters.
vesper load "$GUEST" process points=exit failed=1 signal sig=10 || fail "two groups"
expect_match "the host's list" "$(vesper list "$GUEST")" 'process +live'
expect_match "the host's list" "$(vesper list "$GUEST")" 'signal +live'
guest_exec "$GUEST" 'true; sh -c "exit 7"; sh -c "kill -USR1 \$\$"; true'
unload process
unload signal
shown=$(vesper cat "$GUEST") || fail "cannot read both at once"
exits=$(grep " $GUEST/process " <<<"$shown")
note "$exits"
expect_eq "records other than those of exit" "$(grep -vc ' exit: ' <<<"$exits")" 0
expect_match "a process that failed" "$exits" ' exit: .* code=7 '
expect_eq "processes that did not fail" "$(grep -c 'code=0 signal=none' <<<"$exits")" 0
expect_match "records of the other" "$(grep " $GUEST/signal " <<<"$shown")" 'SIGUSR1'

# All there are, by one command, and a recorder behind them. Only shells are listened to, which
# can be made to be silent.
said=$(vesper load "$GUEST" signal comm=sh process comm=sh memory sched min_us=600000000 net block fs panic \
	any at=tcp_v4_connect 2>&1) ||
	fail "cannot load all groups at once: $said"
note "$said"
[[ $said != *"is not attached"* ]] || fail "a point is left out: $said"
listed=$(vesper list "$GUEST")
for module in "${all[@]}"; do expect_match "the host's list" "$listed" "$module +live"; done
DIR=$VESPER_WORK/trace
record_start "$DIR" "${#all[@]}" "$GUEST"
guest_exec "$GUEST" 'nc -w 2 127.0.0.1 7001 </dev/null; sh -c "kill -TERM \$\$"; true'
# The guest's own counts, told by a shell that starts nothing from there on, and does not end.
# Its words are what `guest_count` reads.
guest_exec "$GUEST" "
	mkfifo /tmp/counted
	(
		while [ -e /proc/\$\$ ]; do sleep 0.1; done
		line=
		for module in ${all[*]}; do
			sum=0 gone=0
			while read -r cpu written lost rest; do
				case \$cpu in [0-9]*) sum=\$((sum + written)) gone=\$((gone + lost)) ;; esac
			done </sys/kernel/debug/vesper_guest/\$module/cpu/stats
			line=\"\$line \$module: \$sum \$gone;\"
		done
		echo \"counted:\$line that is all\" >/dev/kmsg
		read -r line </tmp/counted
	) >/dev/null 2>&1 &" || fail "the guest does not count"
counts() { tr -d '\r' <"$(guest_console "$GUEST")" | grep -a 'counted: .* that is all'; }
wait_for 20 "the guest's counts" counts
counted=$(counts | tail -n 1)
note "$counted"
for module in "${all[@]}"; do unload "$module"; done
record_end "$DIR"
guest_exec "$GUEST" 'echo >/tmp/counted; rm /tmp/counted'
for module in "${all[@]}"; do
	[[ $counted =~ \ $module:\ ([0-9]+)\ ([0-9]+)\; ]] || fail "no count of $module"
	written=${BASH_REMATCH[1]}
	expect_eq "records of $module that were lost" "${BASH_REMATCH[2]}" 0
	shown=$(babeltrace "$DIR/$GUEST/$module") || fail "$module: $shown"
	expect_eq "records of $module" "$(grep -c . <<<"$shown")" "$written"
	expect_eq "the same by vesper's own decoder" \
		"$(vesper cat --from "$DIR/$GUEST/$module" --json | wc -l)" "$written"
done
# All together, in the order of their times.
shown=$(babeltrace "$DIR") || fail "$shown"
for event in 'signal_generate: .* sig = \( "SIGTERM" .* stack = \[.*"[a-z_]*send_signal[^"]*\+0x' \
	'exit: .* signal = \( "SIGTERM" ' 'tcp_reset_sent: .*"127\.0\.0\.1:7001"' \
	'entry: .* at = "tcp_v4_connect"'; do
	grep -E -m 1 " $event" <<<"$shown" || fail "no record of all groups: $event"
done

# What there is not.
expect_status 3 vesper load "$GUEST" process points=exit,swap
expect_match "an unknown point" "$OUTPUT" "no point 'swap'"
expect_match "the points there are" "$OUTPUT" 'fork, exec, exit, fault'
expect_status 1 vesper load "$GUEST" no_such_group
expect_match "an unknown group" "$OUTPUT" "no group of probe points 'no_such_group'"
expect_match "the groups there are" "$OUTPUT" 'any,.* process,'
expect_status 3 vesper load "$GUEST" any at=no_such_function
expect_match "nothing to attach to" "$OUTPUT" 'this kernel has no function no_such_function'
expect_eq "the host's list" "$(vesper list "$GUEST" --json)" "[]"

# One of two can't be attached: it is named, and the other runs.
said=$(vesper load "$GUEST" any at=tcp_v4_connect,no_such_function,exc_page_fault) || fail "any"
expect_match "what is loaded" "$said" 'any: loaded into'
expect_match "a function that there is not" "$said" \
	"point 'no_such_function' is not attached: this kernel has no function no_such_function"
expect_match "the same in the host's list" "$(vesper list "$GUEST")" \
	"$GUEST/any: point 'no_such_function' is not attached: .*; point 'exc_page_fault' is not attached"
expect_match "a function that can't be probed" "$said" \
	"point 'exc_page_fault' is not attached: this kernel keeps probes out of function exc_page_fault"
guest_exec "$GUEST" 'nc -w 2 127.0.0.1 7001 </dev/null; true'
unload any
records=$(vesper cat "$GUEST/any")
note "$records"
expect_eq "calls of the other" "$(grep -c ' entry: .* comm="nc" at="tcp_v4_connect"' <<<"$records")" 1

# Built for another kernel only: said here, with the command that builds it.
mkdir -p "$VESPER_WORK/probes/$other"
sed "s/vermagic=${version//./\\.}/vermagic=${version//[0-9]/6}/" "$GUEST_TOP/probes/process/process.ko" \
	>"$VESPER_WORK/probes/$other/process.ko"
expect_status 1 vesper load "$GUEST" process --probes "$VESPER_WORK/probes"
expect_match "a build for another kernel" "$OUTPUT" "not built for kernel $released: there is ${other//+/\\+}"
expect_match "what to do" "$OUTPUT" "make probes_install KDIR=/lib/modules/$released/build"
expect_match "it is listed" "$(vesper probes --probes "$VESPER_WORK/probes")" "process +[^ ]+ +${other//+/\\+}"

# Beside it the build for this one: of the two it is the one that fits that is loaded.
mkdir "$VESPER_WORK/probes/$release"
cp "$GUEST_TOP/probes/process/process.ko" "$VESPER_WORK/probes/$release/"
listed=$(vesper probes --probes "$VESPER_WORK/probes")
for built in "$release" "$other"; do
	expect_match "both builds are listed" "$listed" "${built//+/\\+}"
done
vesper load "$GUEST" process --probes "$VESPER_WORK/probes" || fail "the build that fits is not found"
expect_match "the host's list" "$(vesper list "$GUEST")" 'process +live'
unload process
