# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The kernel logs of host and guests as witnesses: after every test the part
# that is new is searched for what a healthy kernel does not say.
#
# A test that makes a kernel complain on purpose declares it beforehand, in a
# comment of its own:
#
#	# kernel-log: host|guest|NAME COUNT REGEX
#
# 'guest' is the one that tests share, NAME another. Exactly COUNT lines must then match
# REGEX, or any number if it is '*'; they are not held against it.

KERNEL_LOG_BAD='WARNING:|BUG:|BUG |Oops|Kernel panic|general protection fault'
KERNEL_LOG_BAD+='|unable to handle|possible recursive locking|circular locking'
KERNEL_LOG_BAD+='|inconsistent lock state|suspicious RCU usage|bad unlock balance'
KERNEL_LOG_BAD+='|Bad rss-counter|blocked for more than|soft lockup|hard LOCKUP'
KERNEL_LOG_BAD+='|rcu.*(stall|detected)|scheduling while atomic|sleeping function'
KERNEL_LOG_BAD+='|list_(add|del) corruption|refcount_t|UBSAN|KASAN|KFENCE'
KERNEL_LOG_BAD+='|rust_kernel: panicked|Call Trace'
# All that kmemleak says, but that it is there.
KERNEL_LOG_BAD+='|kmemleak: ([^K]|K[^e]|Kernel memory leak detector [^i])'

# Number of lines a log has now: where the next look begins.
kernel_log_mark() { # FILE
	if [[ -r $1 ]]; then wc -l <"$1"; else echo 0; fi
}

# The end of what FILE got behind line MARK.
kernel_log_tail() { # FILE MARK
	[[ -r $1 ]] || return 0
	echo "the end of the kernel log:"
	tail -n +"$(($2 + 1))" "$1" | tail -n 15
}

# How long the consoles of all guests are: lines and file of each.
kernel_log_lengths() {
	wc -l "${VESPER_LOG:-/tmp}"/*-console*.log 2>/dev/null | sed '/ total$/d'
}

# Searches what is new of all consoles since their lengths were written to FILE, for SCRIPT,
# but for those that it has searched itself. SHARED is the guest that tests share.
kernel_log_guests() { # FILE SHARED SCRIPT
	local name file before status=0
	local -A new=()
	# What is declared must be there, also of a guest that has said nothing.
	while read -r name; do
		[[ $name == guest ]] && name=$2
		[[ -z $name || $name == host ]] || new[$name]=''
	done < <(sed -n 's/^# kernel-log: \([^ ]*\) .*/\1/p' "$3")
	while read -r before file; do
		name=${file##*/}
		name=${name%-console*}
		# The host VM's is there, too.
		[[ $name != host ]] || continue
		! grep -qsxF "$(readlink -f "$file")" "$VESPER_WORK/searched" || continue
		new[$name]+=$(tail -n +"$((before + 1))" "$file")$'\n'
	done < <(kernel_log_lengths | awk '
		NR == FNR { before[$2] = $1; next }
		$1 > before[$2] { print before[$2] + 0, $2 }' "$1" -)
	for name in "${!new[@]}"; do
		file=$1.$name
		printf '%s' "${new[$name]}" >"$file"
		[[ $name != "$2" ]] || name=guest
		kernel_log_scan "$name" "$file" 0 "$3" || status=1
	done
	return $status
}

# Searches FILE behind line MARK, for the test script SCRIPT, as WHO.
kernel_log_scan() { # WHO FILE MARK SCRIPT
	local who=$1 new declared status=0 side count regex found

	[[ -r $2 ]] || return 0
	readlink -f "$2" >>"$VESPER_WORK/searched"
	new=$(tail -n +"$(($3 + 1))" "$2" | tr -d '\r')
	declared=$(sed -n "s/^# kernel-log: $who //p" "$4")
	while read -r count regex; do
		[[ -n $count ]] || continue
		found=$(grep -cE "$regex" <<<"$new")
		if [[ $count != '*' ]] && ((found != count)); then
			echo "$who's kernel log has $found lines of /$regex/, declared: $count"
			status=1
		fi
		new=$(grep -vE "$regex" <<<"$new")
	done <<<"$declared"
	side=$(grep -E "$KERNEL_LOG_BAD" <<<"$new")
	if [[ -n $side ]]; then
		echo "$who's kernel log:"
		grep -E -A12 "$KERNEL_LOG_BAD" <<<"$new" | head -60
		status=1
	fi
	return $status
}
