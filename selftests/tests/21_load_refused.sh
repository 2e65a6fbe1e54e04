#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What the guest says to a module that it cannot load reaches the operator, with
# its errno, and what to do about it; nothing of it stays.
. lib/vesper.sh

nothing_left() {
	expect_eq "modules on the host's list" "$(vesper list "$GUEST" --json)" "[]"
	! guest_exec "$GUEST" lsmod | grep -q '^vesper_seq ' || fail "the module is in the guest"
	[[ ! -d $RELAY/$GUEST/vesper_seq ]] || fail "it left files"
}

expect_status 1 vesper load no-such-guest "$SEQ"
expect_match "no such domain" "$OUTPUT" "no-such-guest"
expect_match "the domains there are" "$OUTPUT" "$GUEST"

# Cut off in the middle: the guest kernel's answer is ENOEXEC.
head -c 20000 "$SEQ" >"$VESPER_WORK/short.ko"
expect_status 3 vesper load "$GUEST" "$VESPER_WORK/short.ko" --name vesper_seq
expect_match "truncated image" "$OUTPUT" 'ENOEXEC'
nothing_left

# Made for another kernel: refused on the host, both versions named.
sed 's/vermagic=7.[0-9]/vermagic=6.6/' "$SEQ" >"$VESPER_WORK/other.ko"
expect_status 1 vesper load "$GUEST" "$VESPER_WORK/other.ko"
expect_match "the module's version" "$OUTPUT" '6\.6\.'
expect_match "the guest's version" "$OUTPUT" '7\.[0-9]'
nothing_left

# A parameter the module cannot take: its init fails with EINVAL.
expect_status 3 vesper load "$GUEST" "$SEQ" subbuf_size=12345
expect_match "bad parameter value" "$OUTPUT" 'EINVAL'
nothing_left

# Twice.
load_seq n_subbufs=4
unload_on_exit vesper_seq
expect_status 1 vesper load "$GUEST" "$SEQ"
expect_match "loaded already" "$OUTPUT" 'already'
unload vesper_seq
nothing_left

expect_status 1 vesper unload "$GUEST" never_loaded
expect_match "unload of what is not there" "$OUTPUT" 'never_loaded'
