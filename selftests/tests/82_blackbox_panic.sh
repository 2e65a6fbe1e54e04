#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The guest panics while it writes. Nothing that was committed is lost, whether it
# reboots or hangs; in the latter case all can be read while it does, and be recorded as a
# trace when QEMU has been killed, with the kernel's last words.
. lib/blackbox.sh

blackbox_round panic_reboot
blackbox_round panic
blackbox_recorded panic
