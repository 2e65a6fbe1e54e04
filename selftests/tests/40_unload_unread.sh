#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Unloading loses nothing: what was not read stays readable after the module is
# gone from the guest, the open sub-buffer included; then the files go.
. lib/vesper.sh
unload_on_exit vesper_seq

load_seq subbuf_size=4096 n_subbufs=8 len=100 switch_ms=600000
seq_write 0 100
unload vesper_seq
! guest_exec "$GUEST" lsmod | grep -q '^vesper_seq ' || fail "the module is still in the guest"
expect_match "the host's list" "$(vesper list "$GUEST")" 'vesper_seq +draining'
[[ ! -e $(relay_file vesper_seq 1) ]] || fail "the file of the CPU that wrote nothing is still there"

cp -r "$RELAY/$GUEST/vesper_seq" "$VESPER_WORK/copy" || fail "cp"
babeltrace "$VESPER_WORK/copy" | seq_check 0=100 || fail "records"
gone() { [[ ! -e $RELAY/$GUEST/vesper_seq ]]; }
wait_for 20 "the drained files to go" gone
expect_eq "the host's list" "$(vesper list "$GUEST" --json)" "[]"

# Who comes only then has not read the metadata, if somebody else has before.
load_seq subbuf_size=4096 n_subbufs=8 len=100 switch_ms=600000
cat "$RELAY/$GUEST/vesper_seq/metadata" >/dev/null
seq_write 0 100
unload vesper_seq
rm -r "$VESPER_WORK/copy"
mkdir "$VESPER_WORK/copy"
cat "$(relay_file vesper_seq 0)" >"$VESPER_WORK/copy/cpu0" || fail "the file is not there"
drained() { [[ ! -e $(relay_file vesper_seq 0) ]]; }
wait_for 20 "the drained file to go" drained
cp "$RELAY/$GUEST/vesper_seq/metadata" "$VESPER_WORK/copy" || fail "no metadata for what was read"
babeltrace "$VESPER_WORK/copy" | seq_check 0=100 || fail "records that were read without the metadata"
wait_for 20 "the directory to go" gone
expect_eq "the host's list" "$(vesper list "$GUEST" --json)" "[]"

# Who follows it reads what is left of the module that was there, and nothing of the next
# one, which takes its name meanwhile.
load_seq subbuf_size=4096 n_subbufs=8 len=100 switch_ms=600000
vesper cat --follow --json "$GUEST/vesper_seq" >"$VESPER_WORK/followed" 2>"$VESPER_WORK/follower" &
FOLLOWER=$!
trap 'kill -KILL "$FOLLOWER" 2>/dev/null; unload_all' EXIT
seq_write 0 1 urgent
wait_for 20 "the first record" test -s "$VESPER_WORK/followed"
kill -STOP "$FOLLOWER"
seq_write 0 100
unload vesper_seq
load_seq subbuf_size=4096 n_subbufs=8 len=100 switch_ms=600000
seq_write 0 10
seq_write 1 10
seq_flush
expect_match "the host's list" "$(vesper list "$GUEST")" 'vesper_seq@[0-9]+ +draining'
kill -CONT "$FOLLOWER"
follower_ended() { ! kill -0 "$FOLLOWER"; }
wait_for 20 "the follower to end" follower_ended
wait "$FOLLOWER" || fail "it ended with $?: $(cat "$VESPER_WORK/follower")"
expect_eq "what it says" "$(cat "$VESPER_WORK/follower")" "101 records, 0 lost"
expect_eq "records of the next one" "$(vesper cat "$GUEST/vesper_seq" --json | wc -l)" 20
unload vesper_seq
none_left() { ! compgen -G "$RELAY/$GUEST/vesper_seq*"; }
wait_for 20 "the drained files to go" none_left
