#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The guest panics while it writes, and reboots: nothing that was committed is
# lost.
. lib/blackbox.sh

blackbox_round panic_reboot
