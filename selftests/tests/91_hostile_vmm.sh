#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# VMMs, operators and readers that mean harm: ioctls, reads, polls and mappings
# on the device nodes and the relay files, from several threads of several
# processes at once; as root, and as a user who has but the attach node. One is
# killed in the middle. Nothing stays of it: no domain, no locked memory, and
# the module can be removed.
#
# CALLS=n, SEED=n in the environment.
# time-limit: 900
. lib/vesper.sh

CALLS=${CALLS:-100000}
SEED=${SEED:-$RANDOM$RANDOM}
note_seed "$SEED"
FUZZ=fuzz/vesper_ioctl_fuzz
GROUP=4711

# A user of the VMM's group, and nothing else.
as_vmm() { setpriv --reuid=65534 --regid=$GROUP --clear-groups --bounding-set=-all --inh-caps=-all "$@"; }

# Guests that other tests have left running hold references, too.
for name in $("$TOP/env/guest-vm" list); do
	[[ $name == "$GUEST" ]] || guest_end "$name"
done

mode=$(stat -c '%g %a' /dev/vesper-attach)
restore() {
	cat "$VESPER_WORK/holders" 2>/dev/null
	chgrp "${mode% *}" /dev/vesper-attach
	chmod "${mode#* }" /dev/vesper-attach
	rm -f "/tmp/vesper_ioctl_fuzz.$$"
}
trap restore EXIT
chgrp $GROUP /dev/vesper-attach || fail "chgrp"
chmod 660 /dev/vesper-attach

# All three at once. The one to be killed never ends by itself.
$FUZZ -s "$((SEED + 2))" -n 1000000000 -p fk -t 2 >"$VESPER_WORK/killed" 2>&1 &
killed=$!
as_vmm $FUZZ -u -s "$((SEED + 1))" -n "$((CALLS / 4))" -p fu >"$VESPER_WORK/user" 2>&1 &
user=$!
$FUZZ -s "$SEED" -n "$((CALLS - CALLS / 4))" -p fr >"$VESPER_WORK/root" 2>&1 &
root=$!
sleep 5
kill -KILL $killed || fail "the one to be killed has ended: $(cat "$VESPER_WORK/killed")"
wait $user || fail "as a user: $(cat "$VESPER_WORK/user")"
wait $root || fail "as root: $(cat "$VESPER_WORK/root")"
sed 's/^/root: /; s/^root: fuzz:/fuzz:/' "$VESPER_WORK/root"
sed 's/^/VMM group: /; s/^VMM group: fuzz:/fuzz:/' "$VESPER_WORK/user"

# What is left is data of the dead, and that goes when it is read.
left() { vesper domains --json | grep -oE '"domain": *"f[kru][0-9@]*"'; }
all_gone() {
	find "$RELAY"/f[kru]* -type f -exec cat {} + >/dev/null 2>&1
	[[ -z $(left) ]]
}
wait_for 60 "the fuzzers' domains to go, there is $(left)" all_gone
expect_eq "their directories" "$(find "$RELAY" -maxdepth 1 -name 'f[kru]*')" ""

# The guest that was there all the time goes on.
unload_on_exit vesper_seq
trap 'unload_all; restore' EXIT
load_seq n_subbufs=8
seq_write 0 5 urgent
expect_eq "records" "$(vesper cat "$GUEST/vesper_seq" --json | wc -l)" 5
unload vesper_seq

# No reference to the module is left but the guest's. The kernel may close files of
# a process after it was waited for.
references() { awk '$1 == "vesper_host" { print $3 }' /proc/modules; }
# Who holds one, should it not go.
holders() {
	echo "references: $(references)"
	find /proc/[0-9]*/fd -lname '*vesper*' -printf '%p %l\n' 2>/dev/null
}
only_the_guest() { [[ $(references) == 1 ]] || { holders >"$VESPER_WORK/holders"; false; }; }
wait_for 20 "references to vesper_host to go" only_the_guest
rm -f "$VESPER_WORK/holders"
guest_stop "$GUEST"
trap restore EXIT
wait_for 20 "the last reference to go" rmmod vesper_host
host_setup || fail "the host cannot be set up again"
