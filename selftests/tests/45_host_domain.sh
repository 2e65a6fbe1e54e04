#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The host as a domain (paper 5.2): the same probes, the same files, the same
# commands, and one reader sees host and guests.
. lib/vesper.sh
. lib/host_domain.sh

# Before there is such a domain, the error says what to do.
expect_status 1 vesper load host "$SEQ"
expect_match "what to do" "$OUTPUT" 'modprobe vesper_local'
# A guest of that name is refused, whether or not the host is a domain.
expect_status 125 guest_start host --wait 15
expect_match "a guest of that name" "$OUTPUT" "does not accept 'host' as the name of a domain"

host_domain_up
domain=$(vesper domains | grep '^host ')
expect_match "the domain" "$domain" '^host +ready +running +- '
expect_eq "its kernel" "${domain##* }" "$(uname -r)"
expect_eq "its boot" "$(host_fact boot_id)" "$(cat /proc/sys/kernel/random/boot_id)"

host_step "both"
# Host and guest at the same time, read alike.
unload_on_exit vesper_seq
load_seq subbuf_size=4096 n_subbufs=8 len=32
seq_write 0 200
seq_write 1 100
seq_flush
host_domain
load_seq subbuf_size=4096 n_subbufs=8 len=32
seq_write 0 150
seq_write 1 50
seq_flush
for side in "$ON_GUEST 200 100" "host 150 50"; do
	read -r GUEST first second <<<"$side"
	mkdir "$VESPER_WORK/$GUEST"
	cp "$RELAY/$GUEST/vesper_seq/metadata" "$VESPER_WORK/$GUEST/"
	for cpu in 0 1; do
		# The plainest consumer.
		relay_wait "$(relay_file vesper_seq $cpu)" 5000 || fail "$GUEST: poll on CPU $cpu"
		cat "$(relay_file vesper_seq $cpu)" >"$VESPER_WORK/$GUEST/cpu$cpu"
	done
	babeltrace "$VESPER_WORK/$GUEST" | seq_check 0="$first" 1="$second" ||
		fail "records of $GUEST"
done
seq_write 0 5
seq_flush
GUEST=$ON_GUEST
seq_write 0 5
seq_flush
expect_eq "records of both in one stream" \
	"$(vesper cat "$ON_GUEST/vesper_seq" host/vesper_seq --json | wc -l)" 10
expect_eq "both in one table" \
	"$(vesper list | grep -cE "(host|$ON_GUEST) +vesper_seq +live")" 2

host_step "urgent"
# An urgent record wakes who waits; and the bytes in a mapping are the ones written.
GUEST=host
relay_wait "$(relay_file vesper_seq 0)" 20000 &
seq_write 0 1 urgent
wait $! || fail "nobody was woken"
seq_write 0 100
seq_flush
seq_expected 0 4096 >"$VESPER_WORK/wanted"
relay_map "$(relay_file vesper_seq 0)" >"$VESPER_WORK/got"
same_bytes "mapped" "$VESPER_WORK/wanted" "$VESPER_WORK/got"
vesper stat host/vesper_seq | grep -q cpu || fail "no buffers of the host"

host_step "unload"
# Unloaded with unread data, which stays; and the module is gone at once.
seq_write 1 70
unload vesper_seq
[[ ! -d /sys/module/vesper_seq ]] || fail "the module is still there"
expect_match "the list" "$(vesper list host)" 'vesper_seq +draining'
expect_eq "pages lent" "$(host_fact lent_pages)" 0
expect_eq "unread records" "$(vesper cat host/vesper_seq --json | wc -l)" 70
wait_for 20 "the drained files to go" test ! -e "$RELAY/host/vesper_seq"

host_step "signal"
# A probe of what happens here: signals.
vesper load host "$SIGNAL" || fail "cannot load $SIGNAL"
host_victim
kill -TERM "$VICTIM"
wait "$VICTIM" 2>/dev/null
seen() { vesper cat host/signal --json | tee -a "$VESPER_WORK/signal" | grep -qw "$VICTIM"; }
wait_for 20 "the signal's record" seen
vesper unload host signal || fail "cannot unload signal"
read_away

host_domain_down
expect_eq "domains of that name" "$(vesper domains | grep -c '^host')" 0
