#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The VMM ends while the guest writes, because the guest powers off or because it
# is told to: nothing that was committed is lost, up to the very end.
. lib/blackbox.sh

blackbox_round shutdown
blackbox_round quit
