#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The bytes that the guest wrote are the bytes that the host reads: by read(),
# in blocks of any size, by poll() and read(), and by mmap; on every CPU.
. lib/vesper.sh
unload_on_exit vesper_seq

SIZE=8192
by_read() { cat "$1"; }
by_small_read() { dd if="$1" bs=7 status=none; }
by_large_read() { dd if="$1" bs=3M status=none; }
by_poll() { while relay_wait "$1" 2000; do cat "$1"; done; }
by_mmap() { relay_map "$1"; }

for way in by_read by_small_read by_large_read by_poll by_mmap; do
	load_seq subbuf_size=$SIZE n_subbufs=8 len=100 switch_ms=600000
	seq_write 0 300
	seq_write 1 200
	seq_flush
	for cpu in 0 1; do
		seq_expected $cpu $SIZE >"$VESPER_WORK/wanted"
		(($(stat -c %s "$VESPER_WORK/wanted") > 20000)) || fail "the guest wrote too little"
		$way "$(relay_file vesper_seq $cpu)" >"$VESPER_WORK/got"
		same_bytes "$way, CPU $cpu" "$VESPER_WORK/wanted" "$VESPER_WORK/got"
		expect_eq "what is left" "$(wc -c <"$(relay_file vesper_seq $cpu)")" 0
	done
	unload vesper_seq
done
