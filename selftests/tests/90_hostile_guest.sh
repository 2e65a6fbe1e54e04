#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A guest that means harm: its kernel module takes the place of vesper_guest and
# sends what a driver never would, between what is right. It harms nobody but
# itself: another guest streams on and loses nothing, host and QEMU say nothing
# but who broke the protocol, no page stays pinned, a device that is broken says so
# until it is reset, and the same guest works with vesper_guest again. Of each type
# something was accepted and something refused; where the guest can't know that, it
# is the host that says so: by its trace events, and by what could be read.
#
# MESSAGES=n, SEED=n in the environment.
# time-limit: 900
. lib/vesper.sh

MESSAGES=${MESSAGES:-20000}
SEED=${SEED:-$RANDOM$RANDOM}
note_seed "$SEED"
EVIL=hostile
HOSTILE=$GUEST_TOP/selftests/modules/vesper_hostile/vesper_hostile.ko
REPORT=/sys/kernel/debug/vesper_hostile/report

# What the host makes of its messages.
TRACE=/sys/kernel/tracing/instances/hostile
EVENTS='vesper_switch vesper_panic vesper_step vesper_broken'
[[ -d ${TRACE%/*} ]] || mount -t tracefs none "${TRACE%/*/*}" || fail "cannot mount tracefs"
mkdir "$TRACE" || fail "no trace"
for event in $EVENTS; do
	echo "domain == \"$EVIL\"" >"$TRACE/events/vesper/$event/filter" || fail "no filter of $event"
	echo 1 >"$TRACE/events/vesper/$event/enable"
done
seen() { grep -cE "$1" "$VESPER_WORK/trace"; }

unload_on_exit vesper_seq
end() {
	unload_all
	kill "${JOBS[@]}" 2>/dev/null
	[[ -z $TRACER ]] || wait "$TRACER" 2>/dev/null
	rmdir "$TRACE"
	guest_end $EVIL
}
trap end EXIT
JOBS=()
TRACER=

field_of() { # DOMAIN FIELD
	vesper domains --json | tr -d '\n ' | tr '{' '\n' | sed -n "s/.*\"domain\":\"$1\".*\"$2\":\([0-9]*\).*/\1/p"
}

# All that it produces is read, so that there is always room for more; how much of its
# channels that was.
drain() {
	while :; do
		find "$RELAY"/$EVIL* -type f -name 'chan*' -exec cat {} + 2>/dev/null | wc -c >>"$VESPER_WORK/drained"
		find "$RELAY"/$EVIL* -type f -exec cat {} + >/dev/null 2>&1
		sleep 0.5
	done
}
# And somebody goes on asking it to load things.
ask() {
	while :; do
		timeout 10 vesper load $EVIL "$SEQ" --timeout 1s >/dev/null 2>&1
		sleep 0.2
	done
}

guest_start $EVIL --smp 2 --no-autoload || fail "no guest"
host_log_mark
! guest_exec $EVIL lsmod | grep -q '^vesper_guest ' || fail "the guest's own driver was loaded"
guest_put $EVIL "$HOSTILE" /tmp/vesper_hostile.ko
load_seq subbuf_size=4096 n_subbufs=64 len=50

mkdir "$VESPER_WORK/copy"
for cpu in 0 1; do
	consume_into "$(relay_file vesper_seq $cpu)" "$VESPER_WORK/copy/stream$cpu" &
	consumers+=($!)
done
guest_exec $EVIL "insmod /tmp/vesper_hostile.ko seed=$SEED messages=$MESSAGES stay=1" || fail "insmod"
cat "$TRACE/trace_pipe" >"$VESPER_WORK/trace" &
TRACER=$!
JOBS+=("$TRACER")
drain &
JOBS+=($!)
ask &
JOBS+=($!)

# Meanwhile the other guest goes on as if nothing was.
rounds=0
running() { guest_exec $EVIL "head -n 1 $REPORT" | grep -q running; }
end=$((SECONDS + (MESSAGES / 50 + 60) * ${TIME_SCALE:-1}))
while running; do
	((SECONDS < end)) || fail "the hostile guest takes too long: $(guest_exec $EVIL "cat $REPORT")"
	seq_write 0 10
	seq_write 1 10
	rounds=$((rounds + 1))
	sleep 1
done
report=$(guest_exec $EVIL "cat $REPORT")
note "$report"
kill "${JOBS[@]}"
expect_eq "the hostile driver's own verdict" "$(head -n 1 <<<"$report")" "done"
note "fuzz: guest $(sed -n 's/^sent \([0-9]*\),.*/\1/p' <<<"$report") messages, seed $SEED"
never=$(awk '/accepted/ && $1 != "ring" && ($3 == 0 || $5 == 0)' <<<"$report")
[[ -z $never ]] || fail "never accepted or never refused: $never"
drained=$(paste -sd+ "$VESPER_WORK/drained" | bc)
note "the host: $(seen 'vesper_switch: .* produced=[1-9]') notifications of a buffer that has something," \
	"$(seen vesper_panic:) of a panic, $(seen 'vesper_step: A4 ') answers to loads; $drained bytes read"
note "what it found broken: $(sed -n "s/.*vesper_broken: .* why='\(.*\)'/\1/p" "$VESPER_WORK/trace" | sort |
	uniq -c | sort -rn | awk '{ n = $1; $1 = ""; printf "%s%s: %d", sep, substr($0, 2), n; sep = ", " }')"
(($(seen 'vesper_switch: .* produced=[1-9]'))) || fail "no notification was of a buffer that there was"
(($(seen vesper_panic:))) || fail "no panic was taken for one"
(($(seen 'vesper_step: A4 '))) || fail "no answer reached the host's loader"
((drained)) || fail "nothing could be read of it"

resets=$(sed -n 's/^sent .*, resets \([0-9]*\),.*/\1/p' <<<"$report")
((resets > 0)) || fail "the device never had to be reset"

# Its last message broke the device, which it has left so.
NEEDS_RESET=0x40
status() { guest_exec $EVIL "cat /sys/bus/virtio/drivers/$1/virtio*/status"; }
state() { vesper domains | sed -nE "s/^$EVIL +(no driver|[a-z]+) .*/\\1/p"; }
(($(status vesper_hostile) & NEEDS_RESET)) || fail "the device says $(status vesper_hostile)"
expect_eq "what the host says of the guest" "$(state)" broken
expect_status 1 vesper load $EVIL "$SEQ"
expect_match "a load, the cause" "$OUTPUT" 'broke the protocol'
expect_match "a load, the remedy" "$OUTPUT" 'reset of the guest'

# The well-behaved guest has lost nothing.
cp "$RELAY/$GUEST/vesper_seq/metadata" "$VESPER_WORK/copy/"
unload vesper_seq
wait "${consumers[@]}"
babeltrace "$VESPER_WORK/copy" | seq_check 0=$((rounds * 10)) 1=$((rounds * 10)) ||
	fail "records of the other guest"

# Host and QEMU have said who broke the protocol, and nothing else.
others=$(host_log_since | grep vesper | grep -vE "vesper_host: $EVIL: |callbacks suppressed")
[[ -z $others ]] || fail "the host's kernel says: $others"
# A reply may be written over the device's own registers, if the guest wants it there.
ours='(virtio-vesper|virtio|warning: Blocked re-entrant IO on MemoryRegion: virtio-pci-[a-z]*-virtio-vesper)'
others=$(grep -vE "qemu-system-x86_64: ($ours|[^:]*([Dd]esc|[Ii]ndirect|[Ii]ndex|Virtqueue)[^:]*)( |:|\$)" \
	"$VESPER_LOG/$EVIL-qemu.log")
[[ -z $others ]] || fail "QEMU says: $others"

# Nothing stays: no page, no channel, no module.
guest_exec $EVIL "rmmod vesper_hostile" || fail "rmmod"
expect_eq "what the host says after the reset" "$(state)" "no driver"
expect_eq "pages still lent" "$(field_of $EVIL lent_pages)" 0
expect_eq "QEMU's locked memory" \
	"$(awk '/^VmLck:/ { print $2 }' "/proc/$("$TOP/env/guest-vm" pid $EVIL)/status")" 0
find "$RELAY"/$EVIL* -type f -exec cat {} + >/dev/null 2>&1

# With its own driver it is a guest like any other.
guest_exec $EVIL "modprobe vesper_guest" || fail "modprobe vesper_guest"
greeted() { vesper load $EVIL "$SEQ" n_subbufs=8; }
wait_for 60 "the guest's own driver to be ready" greeted
! (($(status vesper_guest) & NEEDS_RESET)) || fail "the device says $(status vesper_guest)"
expect_eq "what the host says of a good driver" "$(state)" ready
GUEST=$EVIL
seq_write 0 5 urgent
records() { (($(vesper cat "$EVIL/vesper_seq" --json | wc -l) == 5)); }
wait_for 20 "records of the guest that was hostile" records
vesper unload $EVIL vesper_seq || fail "unload"
GUEST=web1
