#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A reader that sits in read() for ever, in the middle of the copy, holds up
# nobody: not other guests, not other channels of the same guest, not the guest
# itself, nor its end. What it kept goes with it. One that a debugger holds at its
# read() does not even hold up other readers of the file.
. lib/vesper.sh

OTHER=web2
guest_running $OTHER || guest_start $OTHER --smp 1 || fail "no second guest"
readers=()
end() {
	((${#readers[@]} == 0)) || kill -KILL "${readers[@]}" 2>/dev/null
	vesper unload $OTHER vesper_seq >/dev/null 2>&1
	find "$RELAY/$OTHER" -type f -exec cat {} + >/dev/null 2>&1
	unload_all
}
unload_on_exit vesper_seq
trap end EXIT

on_other() { guest_exec $OTHER "$1" || fail "in $OTHER: $1"; }
lent() { vesper domains --json | tr -d '\n ' | tr '{' '\n' | sed -n "s/.*\"domain\":\"$OTHER\".*\"lent_pages\":\([0-9]*\).*/\1/p"; }
in_copy() { grep -q userfault "/proc/$1/wchan" || grep -q handle_userfault "/proc/$1/stack"; }
stuck() { # FILE
	relay_stuck "$1" &
	readers+=($!)
	wait_for 10 "the reader to be stuck" in_copy $!
}
others_work() {
	load_seq n_subbufs=8 || return
	seq_write 0 5 urgent
	expect_eq "records of the other guest" "$(vesper cat "$GUEST/vesper_seq" --json | wc -l)" 5
	unload vesper_seq
	timeout 10 vesper stat >/dev/null || fail "stat"
}

vesper load $OTHER "$SEQ" n_subbufs=8 switch_ms=20 || fail "load"
on_other "echo 0 20 urgent >/sys/kernel/debug/vesper_seq/write"
file=$RELAY/$OTHER/vesper_seq/cpu0

held() { grep -qs 'State:.*tracing stop' "/proc/$(pgrep -P "$1")/status"; }
strace -qq -o /dev/null -P "$file" -e trace=read -e inject=read:delay_enter=600s \
	cat "$file" >/dev/null &
readers+=($!)
wait_for 20 "the debugger to hold a reader" held $!
(($(timeout 20 head -c 100 "$file" | wc -c) == 100)) || fail "a reader beside one that a debugger holds"
others_work

stuck "$file"

# A second reader of the same file waits, and can be interrupted.
expect_status 124 timeout 1 cat "$file"
others_work

# Another channel of the same guest.
vesper load $OTHER "$SIGNAL" sig=10 || fail "load beside it"
on_other 'sleep 100 & sleep 1; kill -USR1 $!'
signalled() { [[ $(vesper cat $OTHER/signal) == *SIGUSR1* ]]; }
wait_for 20 "the other channel's record" signalled
vesper unload $OTHER signal || fail "unload beside it"

# The guest writes on, and drops once the buffer is full, and nothing else.
on_other "echo 0 5000 >/sys/kernel/debug/vesper_seq/write"

# It goes without waiting for the reader: killed, and its data is there.
"$TOP/env/guest-vm" kill $OTHER || fail "kill"
dead() { [[ $(vesper domains) =~ $OTHER\ +(dead|gone|ended) ]]; }
wait_for 20 "the guest to be known as dead, not $(vesper domains)" dead
others_work
guest_start $OTHER --smp 1 || fail "a new guest of the same name"
vesper load $OTHER "$SEQ" n_subbufs=8 || fail "load into the new guest"
vesper unload $OTHER vesper_seq || fail "unload from the new guest"

# With the reader goes what it held.
kill -KILL "${readers[@]}"
wait "${readers[@]}" 2>/dev/null
readers=()
find "$RELAY/$OTHER"* -type f -exec cat {} + >/dev/null 2>&1
nothing_dead() { ! dead; }
wait_for 20 "the dead guest's data to go" nothing_dead
expect_eq "pages lent" "$(lent)" 0
