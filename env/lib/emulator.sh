# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# How an emulated host VM ended. What is known of that is in Documentation/testing.md.

emulated() { grep -q 'QEMU TCG' "$1"; } # CONSOLE-LOG

# Whether an emulated host VM ended by itself, without a word or by a panic in which no code
# of ours took part.
emulator_ended() { # CONSOLE-LOG
	local panic module
	emulated "$1" || return 1
	panic=$(tr -d '\r' <"$1" | sed -nE '/Kernel panic - not syncing|BUG: |Oops: |general protection fault/,$p')
	while read -r module; do
		[[ -z $(find "$VESPER_TOP"/{host,guest,local,probes,selftests} -name "$module.ko") ]] ||
			return 1
	done < <(sed -nE 's|.*/0x[0-9a-f]+ \[([a-z0-9_]+)\].*|\1|p' <<<"$panic")
}
