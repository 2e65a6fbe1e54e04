#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A guest sleeps and wakes up under a probe that streams: once its devices only
# (pm_test), twice the whole machine (S3). The driver gives everything back
# before and lends it again after; what was read before and after, taken
# together, has every record once.
#
# The harness's agent in the guest has a virtio-serial port, which may not
# survive this. So everything is set going beforehand, and then done from the
# host, by VESPER.
. lib/vesper.sh
# One that was started by its PVH entry boots anew instead of waking up.
own_guest sleeper --smp 2 --kernel "$GUEST_TOP/build/guest.vmlinuz"

runstate() { guest_qmp "$GUEST" '{"execute":"query-status"}'; }
suspended() { [[ $(runstate) == *'"suspended"'* ]]; }
ready() { [[ $(vesper domains) =~ $GUEST\ +ready ]]; }
# The platform may wake it up again at once.
suspended_or_back() { suspended || [[ -e $(relay_file vesper_seq 1) ]]; }
live() { [[ $(vesper list "$GUEST") =~ vesper_seq\ +live ]]; }

# Each time that the probe is there and both consumers have read something.
cat >"$VESPER_WORK/sleeper" <<'SCRIPT'
stats=/sys/kernel/debug/vesper_guest/vesper_seq/cpu/stats
reads() {
	awk '/^cpu/ { for (i = 1; i <= NF; i++) if ($i == "consumed") at = i; next }
		$at > 0 { n++ }
		END { exit n < 2 }' $stats 2>/dev/null
}
echo deep >/sys/power/mem_sleep
for how in 'devices freeze' 'none mem' 'none mem'; do
	until reads; do sleep 0.2; done
	echo "sleeper: ${how% *} ${how#* }" >/dev/kmsg
	echo ${how% *} >/sys/power/pm_test
	echo ${how#* } >/sys/power/state || echo "sleeper: failed" >/dev/kmsg
	while [ -e $stats ]; do sleep 0.2; done
done
SCRIPT
guest_put "$GUEST" "$VESPER_WORK/sleeper" /tmp/sleeper || fail "put"
guest_exec "$GUEST" 'sh /tmp/sleeper >/dev/null 2>&1 &'

seen=0
for how in devices_only whole_machine whole_machine; do
	copy=$VESPER_WORK/copy
	rm -rf "$copy"
	load_stream
	follow "$copy"
	followed
	note "$how: $(stat -c %s "$copy/stream0" "$copy/stream1" | xargs) bytes before"
	if [[ $how == whole_machine ]]; then
		wait_for 60 "the guest to sleep" suspended_or_back
		if suspended; then
			seen=$((seen + 1))
			expect_eq "pages lent while it sleeps" "$(lent_pages)" 0
			guest_qmp "$GUEST" '{"execute":"system_wakeup"}' || fail "system_wakeup"
		fi
	fi
	wait_for 60 "the guest to wake up" ready
	wait_for 60 "the list of modules" live
	wait_for 60 "the files" test -e "$(relay_file vesper_seq 1)"
	before=$(stat -c %s "$copy/stream0")
	follow "$copy"
	sleep 2
	unload vesper_seq
	followed
	note "$how: $(stat -c %s "$copy/stream0" "$copy/stream1" | xargs) bytes in all"
	(($(stat -c %s "$copy/stream0") > before)) || fail "nothing after the guest woke up"
	babeltrace "$copy" | seq_check 0=1+ 1=1+ || fail "$how: records"
	expect_eq "pages lent" "$(lent_pages)" 0
	vesper load "$GUEST" "$SIGNAL" sig=10 || fail "another load"
	vesper unload "$GUEST" signal || fail "another unload"
done
! grep -q 'sleeper: failed' "$(guest_console "$GUEST")" || fail "the guest did not sleep"
((seen > 0)) || fail "it was never seen asleep"
expect_eq "times it slept" "$(grep -c 'PM: suspend exit' "$(guest_console "$GUEST")")" 3
