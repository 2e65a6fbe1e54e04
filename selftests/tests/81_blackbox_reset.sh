#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The machine is reset while the guest writes: it waits until the host has its
# copy, and nothing that was committed is lost.
. lib/blackbox.sh

blackbox_round reset
