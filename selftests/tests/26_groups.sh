#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Groups of probe points: listed, loaded by name in the build for the guest's
# kernel, several at once, all at once; what can't be attached, what there is not and what is
# not built is told, with what to do.
. lib/vesper.sh
unload_on_exit signal process memory sched net blockio fs panic any

# The guest's kernel, which need not be the host's, and one that there is not.
release=$(guest_exec "$GUEST" "uname -r")
version=${release%%[!0-9.]*}
other=${release/#"$version"/6.6.6}
# In a regular expression.
released=${release//+/\\+}
listed=$(vesper probes)
for group in any process signal; do
	expect_match "the list of groups" "$listed" $'\n'"$group +[^ ]+ +$released "
done
described=$(vesper probes process)
for line in '  \* exit +A process ends' '  exit +A process or thread ends' \
	'    code +U8 +What it returned' '  failed=false +bool '; do
	expect_match "the description of a group" "$described" $'\n'"$line"
done
vesper probes --json | python3 -c '
import json, sys
groups = {g["group"]: g for g in json.load(sys.stdin)}
points = {p["name"]: p["default"] for p in groups["process"]["points"]}
assert points["exit"] is True, points
fields = {e["name"]: [f["name"] for f in e["fields"]] for e in groups["process"]["events"]}
assert "signal" in fields["exit"], fields
' || fail "the list as JSON"

# Two at once, each with its own parameters.
vesper load "$GUEST" process points=exit failed=1 signal sig=10 || fail "two groups"
expect_match "the host's list" "$(vesper list "$GUEST")" 'process +live'
expect_match "the host's list" "$(vesper list "$GUEST")" 'signal +live'
guest_exec "$GUEST" 'true; sh -c "exit 7"; sh -c "kill -USR1 \$\$"; true'
unload process
unload signal
exits=$(vesper cat "$GUEST/process")
note "$exits"
expect_eq "records other than those of exit" "$(grep -vc ' exit: ' <<<"$exits")" 0
expect_match "a process that failed" "$exits" ' exit: .* code=7 '
expect_eq "processes that did not fail" "$(grep -c 'code=0 signal=none' <<<"$exits")" 0
expect_match "records of the other" "$(vesper cat "$GUEST/signal")" 'SIGUSR1'

# All there are, by one command.
said=$(vesper load "$GUEST" signal process memory sched net block fs panic any at=tcp_v4_connect 2>&1) ||
	fail "cannot load all groups at once: $said"
note "$said"
[[ $said != *"is not attached"* ]] || fail "a point is left out: $said"
all=(signal process memory sched net blockio fs panic any)
listed=$(vesper list "$GUEST")
for module in "${all[@]}"; do expect_match "the host's list" "$listed" "$module +live"; done
guest_exec "$GUEST" 'nc -w 2 127.0.0.1 7001 </dev/null; sh -c "kill -TERM \$\$"; true'
for module in "${all[@]}"; do unload "$module"; done
shown=$(vesper cat "$GUEST" 2>/dev/null) || fail "cannot read all groups at once"
for event in 'signal_generate: .*SIGTERM' 'exit: .*signal=SIGTERM' 'tcp_reset_sent: ' 'entry: .*tcp_v4_connect'; do
	expect_match "records of all groups" "$shown" " $event"
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
expect_match "a function that can't be probed" "$said" "point 'exc_page_fault' is not attached: this kernel (keeps probes out of|has no) function"
unload any

# Built for another kernel only: said here, with the command that builds it.
mkdir -p "$VESPER_WORK/probes/$other"
sed "s/vermagic=${version//./\\.}/vermagic=6.6.6/" "$GUEST_TOP/probes/process/process.ko" \
	>"$VESPER_WORK/probes/$other/process.ko"
expect_status 1 vesper load "$GUEST" process --probes "$VESPER_WORK/probes"
expect_match "a build for another kernel" "$OUTPUT" "not built for kernel $released: there is ${other//+/\\+}"
expect_match "what to do" "$OUTPUT" "make probes_install KDIR=/lib/modules/$released/build"
expect_match "it is listed" "$(vesper probes --probes "$VESPER_WORK/probes")" "process +[^ ]+ +6\.6\.6"

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
