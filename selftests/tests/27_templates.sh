#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The template probes, which were built out of the tree against what is
# installed (tools/template_probes), are loaded together and record the same.
. lib/vesper.sh
unload_on_exit exits exits_c

built=$GUEST_TOP/build/template
for source in rust/exits.rs c/exits_c.c; do
	(($(wc -l <"$TOP/probes/template/$source") < 60)) || fail "$source has 60 lines or more"
done
# Against what is installed, by what the build wrote down of itself, and nothing of the tree.
installed=$built/installed/usr/local/include
grep -q -- "-I$installed/" "$built/c/.exits_c.o.cmd" || fail "exits_c was not built against $installed"
grep -q " $installed/vesper/[^ ]*probe.h " "$built/rust/.vesper_bindings.rs.cmd" ||
	fail "the bindings of exits are not those of $installed"
grep -q 'vesper-api/probe.rs' "$built/rust/.exits.o.cmd" || fail "exits was not built with vesper-api"
expect_eq "where that is" "$(readlink "$built/rust/vesper-api")" "$installed/vesper"
grep -q "$GUEST_TOP/include" "$built"/{rust,c}/.*.cmd && fail "they were built against the tree's own headers"
vesper load "$GUEST" "$built/rust/exits.ko" comm=sleep "$built/c/exits_c.ko" comm=sleep ||
	fail "they cannot be loaded"

tgid=$(guest_exec "$GUEST" 'sleep 0.2 & echo $!; wait; true')
for probe in exits exits_c; do
	unload $probe
	records=$(vesper cat "$GUEST/$probe")
	note "$records"
	expect_eq "records of $probe" "$(wc -l <<<"$records")" 1
	expect_match "the record of $probe" "$records" "exit: tgid=$tgid comm=\"sleep\""
done

# Both describe themselves the same way.
for probe in exits:rust exits_c:c; do
	described=$(vesper probes "${probe%:*}" --probes "$built/${probe#*:}")
	note "$described"
	expect_match "its point" "$described" '  \* exit +'
	expect_match "its fields, in order" "$described" $'    tgid +S32 .*\n    comm +STRING '
	expect_match "a parameter" "$described" $'\n  pid=0 '
done
