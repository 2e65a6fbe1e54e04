#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Points whose hooks can't all be attached: another name, another hook, another kind of
# hook takes the place; a point that lacks one is named, and the others run. A probe's
# own source begins and ends with it.
. lib/vesper.sh
unload_on_exit vesper_hooks

hooks=$GUEST_TOP/selftests/modules/vesper_hooks/vesper_hooks.ko
said=$(vesper load "$GUEST" "$hooks") || fail "cannot load it"
note "$said"
expect_match "what can't be attached" "$said" "point 'half' is not attached: this kernel has no function no_such_function"
expect_eq "points that are told" "$(grep -c "is not attached" <<<"$said")" 1
guest_exec "$GUEST" 'sleep 0.2'
unload vesper_hooks
records=$(vesper cat "$GUEST/vesper_hooks")
for point in other_name other_hook other_kind 'source begins' 'source ends'; do
	grep -q "called: point=\"$point\"" <<<"$records" || fail "no record of $point: $records"
done
expect_eq "records of hooks that must not be there" "$(grep -c wrong <<<"$records")" 0
expect_eq "beginnings and ends of the source" "$(grep -c 'source' <<<"$records")" 2

# Only what was chosen.
vesper load "$GUEST" "$hooks" points=source || fail "cannot load it"
guest_exec "$GUEST" 'sleep 0.2'
unload vesper_hooks
expect_eq "records" "$(vesper cat "$GUEST/vesper_hooks" | wc -l)" 2
