#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# An urgent record reaches the host although its sub-buffer is nearly empty; an
# ordinary one waits for the switch timer, and no longer.
. lib/vesper.sh
unload_on_exit vesper_seq

load_seq switch_ms=600000 n_subbufs=4
seq_write 0 1
expect_status 3 relay_wait "$(relay_file vesper_seq 0)" 1000
seq_write 0 1 urgent
expect_status 0 relay_wait "$(relay_file vesper_seq 0)" 20000
expect_eq "records" "$(vesper cat "$GUEST/vesper_seq" --json | wc -l)" 2
unload vesper_seq

load_seq n_subbufs=4
seq_write 1 1
expect_status 0 relay_wait "$(relay_file vesper_seq 1)" 20000
expect_eq "records" "$(vesper cat "$GUEST/vesper_seq" --json | wc -l)" 1
