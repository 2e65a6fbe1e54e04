#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The attach node without QEMU: a C program plays the VMM and its guest.
# kernel-log: host 1 fake: the host's modules are older
# kernel-log: host 1 fake: the guest's modules are older
# kernel-log: host 1 fake-quiet: the host's modules are older
. lib/vesper.sh
attach/vesper_attach_test || fail "see above"

said=$(dmesg | grep -c 'fake-loud: ')
((said > 0 && said < 50)) || fail "$said messages about a guest with 50"
