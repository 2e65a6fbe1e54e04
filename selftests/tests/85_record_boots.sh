#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# One recorder, two guests, and two boots of one of them, which ends with kill -9
# of its QEMU while the recorder stands still: each module and each boot has a
# trace of its own with all its records, the last open sub-buffer included, and says how
# many the guest had to drop.
. lib/record.sh
DIR=$VESPER_WORK/trace
shared=$GUEST
own_guest twice --smp 2
GUEST=$shared
clean_up() {
	local status=$?
	kill "$RECORDER" 2>/dev/null
	vesper unload "$shared" vesper_seq >/dev/null 2>&1
	GUEST=$shared read_away
	(exit $status)
	own_guests_end
}
trap clean_up EXIT

load_seq subbuf_size=16384 n_subbufs=8 switch_ms=600000
record_start "$DIR" 1 "$shared/vesper_seq" twice --wait
GUEST=twice
again() { local now; now=$(boot) && [[ -n $now && $now != "$old" ]]; }
boot() { guest_exec --timeout 20 twice 'cat /proc/sys/kernel/random/boot_id'; }
both() { (($(grep -c "$1" "$DIR.log") == $2)); }

load_seq subbuf_size=4096 n_subbufs=16 len=100 switch_ms=600000
wait_for 20 "the recorder to take it up" both 'twice/vesper_seq: recording' 1
seq_write 0 200
seq_write 1 100
old=$(boot)
guest_qmp twice '{"execute":"system_reset"}' >/dev/null
wait_for 60 "the end of the first boot" both 'twice/vesper_seq: ended' 1
GUEST=$shared seq_write 0 300
wait_for 180 "the guest to come back" again

load_seq subbuf_size=4096 n_subbufs=16 len=100 switch_ms=600000
wait_for 20 "the recorder to take up the second boot" both 'twice/vesper_seq: recording' 2
kill -STOP "$RECORDER"
# Of the one CPU more than there is room for.
seq_write 0 1000
seq_write 1 50
lost=$(guest_count vesper_seq lost all)
((lost > 0)) || fail "all of it found room"
"$TOP/env/guest-vm" kill twice || fail "kill"
kill -CONT "$RECORDER"
wait_for 60 "the end of the second boot" both 'twice/vesper_seq: ended' 2
GUEST=$shared unload vesper_seq
wait_for 60 "the end of the other guest's module" both 'ended' 3
record_stop "$DIR"

second=("$DIR"/twice/vesper_seq-*)
expect_eq "directories" "${#second[@]}" 1
babeltrace "$DIR/twice/vesper_seq" | seq_check 0=200 1=100 || fail "the first boot"
expect_eq "events discarded in the second boot" "$(discarded events "${second[0]}")" "$lost"
expect_eq "packets discarded in the second boot" "$(discarded packets "${second[0]}")" 0
trace_records "${second[0]}"
seq_check 0=1000-"$lost" 1=50 <"$VESPER_WORK/records" || fail "the second boot"
babeltrace "$DIR/$shared" | seq_check 0=300 || fail "the other guest"
trace_records "$DIR"
expect_eq "all of it at once" "$(wc -l <"$VESPER_WORK/records")" $((300 + 1050 - lost + 300))
expect_eq "boots in the traces" "$(grep -ho 'boot_id = .*' "$DIR"/*/*/metadata | sort -u | wc -l)" 3
