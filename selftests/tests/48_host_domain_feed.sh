#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What it takes to carry records is recorded, urgently, on a machine that goes on
# working; and can be ended. Without a reader, and with one.
. lib/vesper.sh
. lib/host_domain.sh

FEED=$HOST_TOP/selftests/modules/vesper_feed/vesper_feed.ko
say() { echo "host_domain_feed: $*" >/dev/kmsg; }

host_domain_up
host_domain
vesper load host "$FEED" || fail "cannot load vesper_feed"
say "loaded"
sleep 1
vesper unload host vesper_feed || fail "cannot unload vesper_feed"
say "unloaded"
read_away
say "read"

vesper load host "$FEED" || fail "cannot load vesper_feed"
relay_tail "$(relay_file vesper_feed 0)" >"$VESPER_WORK/feed" &
reader=$!
say "read by $reader"
sleep 2
vesper unload host vesper_feed || fail "cannot unload vesper_feed under a reader"
say "unloaded"
wait "$reader" || fail "the reader ended with $?"
(($(stat -c %s "$VESPER_WORK/feed") > 1000)) || fail "hardly a record of the carrying"
note "$(stat -c %s "$VESPER_WORK/feed") bytes of records of the carrying itself"
read_away
host_domain_down
