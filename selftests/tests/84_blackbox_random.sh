#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Rounds of which everything is chance: what befalls the guest, how large its
# buffers are (too small, too), whether they are written over when full, whether the
# timer closes sub-buffers, whether the readers sleep through it. ROUNDS says how
# many, or MINUTES for how long; SEED makes the same ones again, FAULTS keeps to
# some, PARAMS has settings for all.
. lib/blackbox.sh

# QEMU is stopped in the middle of it, and then killed: meanwhile what was written
# stays readable, and another guest is served as ever.
befall_stopped() {
	kill -STOP "$(guest_cli pid "$GUEST")"
	vesper stat "$GUEST/vesper_seq" >/dev/null || fail "vesper stat hangs on a stopped guest"
	vesper load web1 "$SIGNAL" || fail "another guest is not served"
	vesper unload web1 signal || fail "another guest is not served"
	befall_kill
}

read -ra faults <<<"${FAULTS:-unload reset panic_reboot panic kill quit shutdown stopped}"
while ((${MINUTES:-0} ? SECONDS < MINUTES * 60 : ROUND < ${ROUNDS:-2})); do
	pick 0 $((${#faults[@]} - 1)); fault=${faults[N]}
	params=()
	pick 0 2
	if ((N == 0)); then
		pick 1 6
		params+=("subbuf_size=4096" "n_subbufs=$N")
	fi
	pick 0 3
	# Nobody can say of a guest that hangs what was written over.
	if ((N == 0)) && [[ $fault != panic ]]; then
		pick 2 12
		params+=(overwrite=1 subbuf_size=4096 "n_subbufs=$N")
	fi
	pick 0 1
	if ((N)); then
		pick 5 200
		params+=("switch_ms=$N")
	fi
	pick 0 2
	STALL=
	# Of a guest that hangs there are readers who look what is there.
	((N)) || [[ $fault == panic ]] || STALL=1
	# shellcheck disable=SC2086 # words
	blackbox_round "$fault" "${params[@]}" ${PARAMS:-}
done
note "$ROUND rounds"
