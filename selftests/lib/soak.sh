# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What a soak has done so far, by what its tests say. Sourced by selftests/soak and env/soak.

# shellcheck disable=SC2034 # used by the scripts that source this
SOAK_KINDS='messages calls loads faults allocations'

# soak_done KIND LOG: how many
#   messages     a hostile guest has sent
#   calls        hostile VMMs, operators and readers have made
#   loads        times a probe was loaded and unloaded, one after the other
#   faults       guests lived through, or died of, after which every record was there
#   allocations  failed because they were told to
soak_done() {
	local number
	case $1 in
	messages) number='s/^# fuzz: guest ([0-9]+) messages.*/\1/p' ;;
	calls) number='s/^# fuzz: ioctl ([0-9]+) calls.*/\1/p' ;;
	loads) number='s/^# ([0-9]+) times$/\1/p' ;;
	# Of each there are three readings.
	faults) number='s/^# blackbox: [^ ]+\/after: .* lost 0$/1/p' ;;
	allocations) number='s/^# .*[ :]([0-9]+) allocations failed.*/\1/p' ;;
	esac
	tr -d '\r' <"$2" | sed -nE "$number" | awk '{ n += $1 } END { print n + 0 }'
}

# soak_short LOG: of which kinds there is less than was asked for, NAME_MIN in the environment.
soak_short() {
	local kind least
	for kind in $SOAK_KINDS; do
		least=${kind^^}_MIN
		(($(soak_done "$kind" "$1") >= ${!least:-0})) || echo "$kind"
	done
}
