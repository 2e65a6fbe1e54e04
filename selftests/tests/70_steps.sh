#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The steps of the paper, as the guest takes them and its trace events tell: A3
# to A8 of a load, B1 to B4 of an index update, C3 to C8 of an unload; each
# there, in order.
. lib/vesper.sh
unload_on_exit vesper_seq

T=/sys/kernel/tracing
trap 'guest_exec "$GUEST" "echo 0 >$T/events/vesper_guest/enable"; unload_all' EXIT
begin() { guest_exec "$GUEST" "cd $T && echo >trace && echo 1 >events/vesper_guest/enable && echo 1 >tracing_on"; }

# What was traced since, one event a line: its name and fields.
steps() { guest_exec "$GUEST" "cat $T/trace" | sed -n 's/.*: vesper_\([a-z_]*: .*\)/\1/p'; }

# The events named come in this order, others may stand between.
in_order() { # WHAT REGEX...
	local what=$1 seen line
	shift
	seen=$(steps)
	while read -r line; do
		if (($#)) && [[ $line =~ $1 ]]; then shift; fi
	done <<<"$seen"
	(($# == 0)) || fail "$what: no '$1' in its place: $seen"
	note "$what:"
	note "$seen"
}

begin
load_seq subbuf_size=4096 n_subbufs=4 len=100 switch_ms=600000
in_order "load" '^load_request: .*module=vesper_seq' '^load_begin: .*vesper_seq' \
	'^channel_open: .*module=vesper_seq' '^lend: .*buffer=0 first=-1 pages=1' \
	'^lend: .*buffer=0 first=0 pages=4' '^share: .*buffer=0' '^share: .*buffer=1' \
	'^load_done: .*vesper_seq errno=0'
begin
seq_write 0 10
seq_flush
cat "$(relay_file vesper_seq 0)" >/dev/null
seq_write 0 60
seq_flush
in_order "index" '^switch: buffer=0 produced=1' '^notify: .*buffer=0 .*sent=1' \
	'^consumed: buffer=0 consumed=1' '^switch: buffer=0 produced=2' '^notify: .*buffer=0'
begin
unload vesper_seq
in_order "unload" '^unload_request: .*module=vesper_seq' '^unload_begin: .*vesper_seq' \
	'^unshare: .*errno=0' '^returned: .*errno=0' '^channel_close: .*errno=0' \
	'^unload_done: .*vesper_seq errno=0'
