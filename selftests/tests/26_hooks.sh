#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Points whose hooks can't all be attached: another name, another hook, another kind of
# hook takes the place; a point that lacks one is named, and the others run. Of functions
# that were renamed the name of this kernel is found. A probe's own source begins and ends
# with it.
. lib/vesper.sh
unload_on_exit vesper_hooks

hooks=$GUEST_TOP/selftests/modules/vesper_hooks/vesper_hooks.ko
said=$(vesper load "$GUEST" "$hooks") || fail "cannot load it"
note "$said"
expect_match "what can't be attached" "$said" "point 'half' is not attached: this kernel has no function no_such_function"
expect_eq "points that are told" "$(grep -c "is not attached" <<<"$said")" 1

# Of what was renamed this kernel has the second name only, and that is where the hook is.
names=$(guest_exec "$GUEST" "grep -wF -e do_remount_sb -e reconfigure_super -e warn_alloc_failed \
	-e warn_alloc /proc/kallsyms" | awk '$3 !~ /[.]/ { print $3 }' | sort | paste -sd ' ')
expect_eq "names in the kernel" "$names" "reconfigure_super warn_alloc"
expect_match "kprobes" "$(guest_exec "$GUEST" "cat /sys/kernel/debug/kprobes/list")" ' k +reconfigure_super\+'
expect_match "fprobes" "$(guest_exec "$GUEST" "cat /sys/kernel/tracing/enabled_functions")" '(^|[[:space:]])warn_alloc '
guest_exec "$GUEST" 'mkdir -p /tmp/remounted && mount -t tmpfs none /tmp/remounted &&
	mount -o remount,ro /tmp/remounted && umount /tmp/remounted' || fail "cannot remount"
guest_exec "$GUEST" 'sleep 0.2'
unload vesper_hooks
vesper cat "$GUEST/vesper_hooks" --json >"$VESPER_WORK/records" || fail "cannot read it"
expect_eq "remounts" "$(records "$VESPER_WORK/records" remounted)" 1
expect_eq "remounts, by the new name" \
	"$(records "$VESPER_WORK/records" remounted "function.startswith('reconfigure_super')")" 1
records=$(<"$VESPER_WORK/records")
for point in other_name other_hook other_kind 'source begins' 'source ends'; do
	(($(records "$VESPER_WORK/records" called "point == '$point'") > 0)) || fail "no record of $point: $records"
done
expect_eq "records of hooks that must not be there" "$(grep -c wrong <<<"$records")" 0
expect_eq "beginnings and ends of the source" \
	"$(records "$VESPER_WORK/records" called "point.startswith('source ')")" 2

# Only what was chosen.
vesper load "$GUEST" "$hooks" points=source || fail "cannot load it"
guest_exec "$GUEST" 'sleep 0.2'
unload vesper_hooks
expect_eq "records" "$(vesper cat "$GUEST/vesper_hooks" | wc -l)" 2
