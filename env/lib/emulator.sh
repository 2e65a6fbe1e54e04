# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# How an emulated host VM ended. What is known of that is in Documentation/testing.md.

emulated() { grep -q 'QEMU TCG' "$1"; } # CONSOLE-LOG

# What a kernel says of memory that was spoilt: that is never the emulator's doing.
EMULATOR_NEVER='KASAN: |KFENCE: |UBSAN: |list_(add|del) corruption|refcount_t: |Bad (page|rss)'
EMULATOR_NEVER+='|page dumped because|BUG at (mm|lib)/|BUG [^ ]+ \(|overwritten|[Ff]reelist|[Ff]reechain'
EMULATOR_NEVER+='|already free|double free|use-after-free|usercopy: |corrupt|stack-protector'
# What is an error at all.
EMULATOR_ERROR='Kernel panic|BUG: |kernel BUG|Oops|general protection fault|unable to handle'
EMULATOR_ERROR+='|WARNING: |double fault|LOCKUP'
# What is said of CPUs that stand still, last by the NMI of session_watch.
EMULATOR_STILL='soft lockup|hard LOCKUP|workqueue lockup|Kernel panic - not syncing: NMI: Not continuing'

# emulator_ended CONSOLE-LOG: whether an emulated host VM ended in one of the ways in which the
# emulator is known to end one; says in which. While the last test ran, its kernel has
#   - first of all met an int3, or
#   - complained of CPUs that stand still, if of anything, until session_watch ended it, or
#   - complained of nothing,
# and since its first complaint no function of our modules was in a trace.
emulator_ended() {
	local console last errors module still=''
	emulated "$1" || return 1
	console=$(tr -d '\r' <"$1")
	! grep -qE "$EMULATOR_NEVER" <<<"$console" || return 1
	# From where run_all said which test begins.
	last=$(grep -nE 'selftest: [^ ]+ begins' <<<"$console" | tail -n 1) || true
	last=${last%%:*}
	last=$(tail -n +"${last:-1}" <<<"$console")
	[[ ! -s ${1%/*}/stood-still ]] || still=1
	while read -r module; do
		[[ -z $(find "$VESPER_TOP"/{host,guest,local,probes,selftests} -name "$module.ko") ]] ||
			return 1
	done < <(sed -nE "/$EMULATOR_ERROR|detected stalls/,\$p" <<<"$last" |
		sed -nE 's|.*/0x[0-9a-f]+ \[([a-z0-9_]+)\].*|\1|p' | sort -u)
	errors=$(grep -E "$EMULATOR_ERROR" <<<"$last") || true
	[[ -z $still ]] || errors=$(grep -vE "$EMULATOR_STILL" <<<"$errors") || true
	if [[ ${errors%%$'\n'*} == *'Oops: int3: '* ]]; then
		echo 'an int3'
	elif [[ -n $errors ]]; then
		return 1
	elif [[ -n $still ]]; then
		echo 'it stood still'
	else
		echo 'without a word'
	fi
}
