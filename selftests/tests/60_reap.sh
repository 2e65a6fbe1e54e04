#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Throwing away what nobody wants to read: of a module that is unloaded and of a
# guest whose QEMU was killed. Neither goes while it is live, nothing else goes
# with it, and a new one of the same name hides neither.
. lib/vesper.sh
unload_on_exit vesper_seq

load_seq subbuf_size=4096 n_subbufs=8 len=100 switch_ms=600000
seq_write 0 50
expect_status 1 vesper reap "$GUEST/vesper_seq"
expect_match "reaping a live module" "$OUTPUT" "is live: it is not reaped.*vesper unload $GUEST vesper_seq"
expect_status 1 vesper reap "$GUEST"
expect_match "reaping a live guest" "$OUTPUT" "guest '$GUEST' is live"

# Twice, so that there are two of the name, and then a live one.
unload vesper_seq
load_seq subbuf_size=4096 n_subbufs=8 len=100 switch_ms=600000
seq_write 0 60
unload vesper_seq
load_seq subbuf_size=4096 n_subbufs=8 len=100 switch_ms=600000
seq_write 0 70
seq_flush
# Whatever has been called NAME@N in this guest before, they are numbered on.
number=$(vesper list "$GUEST" | grep -o -m 1 '@[0-9]*')
number=${number#@}
first=vesper_seq@$number second=vesper_seq@$((number + 1))
expect_eq "the host's list" "$(vesper list "$GUEST" | awk 'NR > 1 { print $2, $3 }')" \
	$'vesper_seq live\n'"$first draining"$'\n'"$second draining"
expect_eq "the buffers' modules" "$(vesper stat "$GUEST" | awk 'NR > 1 && $NF > 0 { print $2 }' | sort -V)" \
	$'vesper_seq\n'"$first"$'\n'"$second"
expect_eq "modules of the guest" "$(vesper domains | awk -v g="$GUEST" '$1 == g { print $7 }')" 3
vesper reap "$GUEST/$first" || fail "cannot reap a draining module"
[[ ! -e $RELAY/$GUEST/$first ]] || fail "the files of what was reaped are still there"
expect_eq "records of the other" "$(vesper cat "$GUEST/$second" --json | wc -l)" 60
expect_eq "records of the live one" "$(vesper cat "$GUEST/vesper_seq" --json | wc -l)" 70
expect_status 1 vesper reap "$GUEST/$first"
expect_match "reaping twice" "$OUTPUT" "nothing is kept"
unload vesper_seq

# A guest of its own, which dies.
guest_start reap1 --smp 1
vesper load reap1 "$SEQ" count=40 len=100 || fail "load"
"$TOP/env/guest-vm" kill reap1
dead() { vesper domains | grep -qE '^reap1 +dead +- '; }
wait_for 20 "the death to be noticed" dead
expect_eq "modules of the dead" "$(vesper domains | awk '$1 == "reap1" { print $7 }')" 1
expect_match "what is kept" "$(vesper domains --json)" '"kept_bytes":[1-9]'
vesper reap reap1 || fail "cannot reap a dead guest"
wait_for 20 "its files to go" test ! -e "$RELAY/reap1"
! vesper domains | grep -q '^reap1 ' || fail "the dead guest is still listed"
