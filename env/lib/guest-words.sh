# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
#
# What every guest's kernel is told. The search for PCI devices on the 255 buses that the
# board has room for, and the kernel's tests of its ciphers, take seconds of an emulated
# guest's boot; so both are left out. GUEST_WORDS: more. Sourced.
guest_words="console=hvc0 ignore_loglevel panic=0 pci=lastbus=0 cryptomgr.notests${GUEST_WORDS:+ $GUEST_WORDS}"
