#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Limits on domains, channels, pages, requests, sizes, and on what is kept of the
# dead: one step further and it is refused, with the errno that the ABI names. Of
# what is kept the oldest goes instead, and all that fits can still be read.
# The module can be removed before and after.
. lib/vesper.sh

guest_stop_all
wait_for 20 "the host module to be removed" rmmod vesper_host
trap 'rmmod vesper_host; host_setup' EXIT
insmod "$HOST_TOP/host/vesper_host.ko" max_domains=3 max_channels=2 max_buffer_pages=12 \
	max_lent_pages=32 max_requests=2 max_dead=2 max_kept_mib=1 \
	max_kept_total_mib=2 || fail "insmod"
limits/vesper_limits_test || fail "limits"
