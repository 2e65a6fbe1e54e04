#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Documentation/tutorial.md, command by command, as it stands there: it finds the
# process that ate the memory, in the second guest and not in the first. That kernel
# reports it:
# kernel-log: web2 * Call Trace:
# kernel-log: web2 1 Out of memory: Killed process
. lib/vesper.sh
export PATH=$TOP/env:$PATH
trap own_guests_end EXIT
OWN_GUESTS=(web2)

mapfile -t commands < <(sed -n 's/^    host-vm# //p' ../Documentation/tutorial.md)
((${#commands[@]} > 8)) || fail "no commands in the tutorial"
for command in "${commands[@]}"; do
	echo "host-vm# $command"
	eval "$command" >"$VESPER_WORK/said" 2>&1 || fail "it fails: $(cat "$VESPER_WORK/said")"
	cat "$VESPER_WORK/said"
done
expect_match "the victim" "$(grep oom_victim /tmp/who)" ' web2/memory [^ ]+ oom_victim: .* comm="tail" .* anon_kb=[0-9]{5,}'
expect_eq "records of the other guest" "$(grep -c web1/ /tmp/who)" 0
rm /tmp/who
