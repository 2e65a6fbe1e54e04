#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The attach node without QEMU: a C program plays the VMM and its guest.
. lib/vesper.sh
attach/vesper_attach_test
