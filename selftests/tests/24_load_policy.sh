#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What the guest's administrator allows: load_policy=signed takes a module that
# Debian signed and none of ours; none takes nothing; a kernel that insists on
# signatures is obeyed. The operator reads why, and what to do.
. lib/vesper.sh

# A stock module that depends on nothing; the module of the kernel itself.
DUMMY=$(echo "$GUEST_TOP"/build/dummy.ko*)
[[ -e $DUMMY ]] || fail "no module dummy of the guest's kernel"

in_guest() { guest_exec "$GUEST" "$@"; }

policy() { # any|signed|none
	in_guest "rmmod vesper_guest && modprobe vesper_guest load_policy=$1" ||
		fail "vesper_guest does not take load_policy=$1"
	wait_for 20 "the guest's hello" guest_policy "$1"
}

guest_policy() { vesper domains --json | tr -d '\n ' | grep -q "\"load_policy\":\"$1\""; }

restore() {
	in_guest "rmmod dummy vesper_seq; rmmod vesper_guest; modprobe vesper_guest"
	guest_stop strict
} >/dev/null 2>&1
trap restore EXIT

nothing_loaded() {
	expect_eq "modules on the host's list" "$(vesper list "$GUEST" --json)" "[]"
	! in_guest lsmod | grep -Eq '^(vesper_seq|dummy) ' || fail "the module is in the guest"
}

policy signed
expect_status 3 vesper load "$GUEST" "$SEQ"
expect_match "unsigned, the cause" "$OUTPUT" 'load policy forbids it'
expect_match "unsigned, the guest's sentence" "$OUTPUT" 'takes signed modules only'
expect_match "unsigned, the remedy" "$OUTPUT" 'load_policy of vesper_guest'
nothing_loaded
expect_status 0 vesper load "$GUEST" "$DUMMY" numdummies=0
in_guest lsmod | grep -q '^dummy ' || fail "the signed module is not in the guest"
unload dummy
# Of a signed module, one byte changed.
cp "$DUMMY" "$VESPER_WORK/"
DUMMY=$VESPER_WORK/${DUMMY##*/}
[[ $DUMMY == *.ko ]] || unxz "$DUMMY"
DUMMY=${DUMMY%.xz}
printf 'D' | dd of="$DUMMY" bs=1 seek="$(grep -abo 'description=' "$DUMMY" | head -1 | cut -d: -f1)" conv=notrunc status=none
expect_status 3 vesper load "$GUEST" "$DUMMY"
expect_match "changed after it was signed" "$OUTPUT" 'load policy forbids it'
nothing_loaded

policy none
expect_status 3 vesper load "$GUEST" "$SEQ"
expect_match "load_policy=none" "$OUTPUT" 'load policy forbids it'
expect_match "load_policy=none, the remedy" "$OUTPUT" 'load_policy of vesper_guest'
nothing_loaded

policy any
load_seq n_subbufs=4
unload vesper_seq
nothing_loaded

# The kernel's own insistence, which cannot be taken back: in a guest of its own.
guest_start strict || fail "no second guest"
guest_exec strict "echo 1 >/sys/module/module/parameters/sig_enforce" ||
	fail "the guest's kernel cannot be made to insist on signatures"
expect_status 3 vesper load strict "$SEQ"
expect_match "the kernel insists" "$OUTPUT" 'required key not available \(E'
expect_match "the kernel insists, the remedy" "$OUTPUT" 'sign the module with a key'
expect_eq "modules of that guest" "$(vesper list strict --json)" "[]"
