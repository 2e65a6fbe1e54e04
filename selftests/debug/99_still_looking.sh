#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# After all the other tests: lockdep, which gives up at its first report and when
# it has too much to keep, has been looking all the time.
. lib/vesper.sh
. lib/debug.sh

# lockdep's own files are in procfs.
if [[ -e /proc/lockdep_stats ]]; then SIDE=host; else SIDE=guest; fi
stats=$(on_side 'cat /proc/lockdep_stats') || fail "neither side's kernel has lockdep"
note "$SIDE: $(grep -E 'lock-classes|direct dependencies|debug_locks' <<<"$stats")"
[[ $stats =~ debug_locks:\ +1 ]] || fail "lockdep is off"
