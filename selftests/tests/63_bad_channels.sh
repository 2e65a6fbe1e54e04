#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Channels of a shape that cannot be: the load fails, the guest's log says why,
# and nothing is left behind on the host.
. lib/vesper.sh
unload_on_exit vesper_seq

refused() { # WHAT THE GUEST'S LOG SAYS, PARAM=VALUE...
	local says=$1
	shift
	expect_status 3 vesper load "$GUEST" "$SEQ" "$@"
	expect_match "the error for $*" "$OUTPUT" "refused to load 'vesper_seq'.*EINVAL"
	expect_match "the remedy for $*" "$OUTPUT" "check the parameters"
	expect_match "the guest's log for $*" "$(guest_exec "$GUEST" dmesg | tail -5)" "$says"
	expect_eq "the host's list" "$(vesper list "$GUEST" --json)" "[]"
	[[ ! -e $RELAY/$GUEST/vesper_seq ]] || fail "a directory is left behind"
}

refused "961 sub-buffers of 4096 bytes do not make a buffer" subbuf_size=4096 n_subbufs=961
refused "8 sub-buffers of 5000 bytes do not make a buffer" subbuf_size=5000
refused "2 sub-buffers of 16777216 bytes do not make a buffer" subbuf_size=16777216 n_subbufs=2
refused "a buffer that is overwritten needs two sub-buffers" overwrite=1 n_subbufs=1

load_seq n_subbufs=2 overwrite=1
