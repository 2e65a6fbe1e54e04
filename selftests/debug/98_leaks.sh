#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# After all the other tests: nothing that was allocated since the machine came up
# is without a reference (kmemleak).
. lib/vesper.sh
. lib/debug.sh

side_with kmemleak
# The first scan may find what is just on its way from one list to another.
on_side 'cd /sys/kernel/debug && echo scan >kmemleak && sleep 6 && echo scan >kmemleak' ||
	fail "kmemleak does not scan: it has switched itself off"
leaks=$(on_side 'cat /sys/kernel/debug/kmemleak')
[[ -z $leaks ]] || fail "$leaks"
# It can tell: what a dead guest has left, if anything, is not of that kind.
note "no leak"
