#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# vesper_host cannot register the second of its nodes, while somebody goes on opening
# the first. A module whose initialisation fails is freed whoever has a file of it, so
# nobody may come to have one.
#
# The kernel is loud about a name that is taken:
# kernel-log: host * sysfs: cannot create duplicate filename|Call Trace:|kobject_add_internal failed
. lib/vesper.sh

NODES=(vesper vesper-attach)
end() {
	kill "${OPENERS[@]}" 2>/dev/null
	rmmod vesper_taken 2>/dev/null
	host_setup
}
guest_stop_all
wait_for 20 "the host module to be removed" rmmod vesper_host
trap end EXIT
OPENERS=()
cat >"$VESPER_WORK/opener" <<'END'
import errno, os, sys

files = []
while True:
    try:
        files.append(os.open(sys.argv[1], os.O_RDWR))
        print("opened", flush=True)
    except OSError as error:
        if error.errno == errno.ENODEV:
            print("refused", flush=True)
END

# Whichever is registered first is met before the other one fails.
for taken in "${NODES[@]}"; do
	insmod "$HOST_TOP/selftests/modules/vesper_taken/vesper_taken.ko" name="$taken" ||
		fail "insmod vesper_taken"
	other=${NODES[0]}
	[[ $other != "$taken" ]] || other=${NODES[1]}
	python3 "$VESPER_WORK/opener" "/dev/$other" >"$VESPER_WORK/$other" &
	OPENERS+=($!)
	for _ in {1..40}; do
		expect_status 1 insmod "$HOST_TOP/host/vesper_host.ko"
		# What the kernel makes of EEXIST, which would mean the module itself.
		expect_match "why" "$OUTPUT" 'Device or resource busy'
		[[ ! -s $VESPER_WORK/$other ]] || break
	done
	kill "${OPENERS[@]}"
	wait "${OPENERS[@]}" 2>/dev/null
	OPENERS=()
	note "with $taken taken, opening $other: $(sort "$VESPER_WORK/$other" | uniq -c)"
	! grep -q opened "$VESPER_WORK/$other" || fail "$other could be opened"
	[[ ! -e /dev/$other && ! -e $RELAY ]] || fail "something is left of the module"
	rmmod vesper_taken || fail "rmmod vesper_taken"
done
cat "$VESPER_WORK"/vesper* | grep -q refused || fail "nobody came in time to be refused"
insmod "$HOST_TOP/host/vesper_host.ko" || fail "insmod vesper_host"
guest_start "$GUEST" --smp 2 || fail "no guest after that"
still_works
