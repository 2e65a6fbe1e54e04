#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A probe is unloaded while it writes: nothing that it committed is lost, not
# even when its buffers are too small for what is written; of a flight recorder,
# nothing of the last lap.
. lib/blackbox.sh

blackbox_round unload
blackbox_round unload subbuf_size=4096 n_subbufs=2
blackbox_round unload overwrite=1 subbuf_size=4096 n_subbufs=4 switch_ms=20
