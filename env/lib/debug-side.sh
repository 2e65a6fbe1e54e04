# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Kernels that look for errors, on one side of the host VM and its guests. Sourced behind
# common.sh.

# What is built for that kernel: a copy, as the clone has the stock kernel's.
DEBUG_COPY=$VESPER_TOP/build/debug/clone

# debug_prepare: the modules, and all that guests are made of.
debug_prepare() {
	mkdir -p "$DEBUG_COPY" "$VESPER_TOP/build/logs"
	unset KERNEL MAKEFLAGS MAKELEVEL
	KERNEL=debug "$VESPER_ENV/setup" root kernel qemu
	"$VESPER_ENV/lib/copy-clone" "$DEBUG_COPY"
	KERNEL=debug with_progress "modules and guest for the debug kernel" \
		"$VESPER_TOP/build/logs/debug-build.log" make --no-print-directory -C "$DEBUG_COPY" guest selftests
}

# debug_side SIDE: env/host-vm's kernel and options, and settings for what runs in it. What the
# fuzzers and those that repeat things do in 'make test', is less here. Emulated, and
# instrumented on top of it, all takes many times as long.
#
# slab_debug=F: slabs look whether what they have is in order, and have no arrays for each CPU. In
# these the addresses stay of what was allocated last, which kmemleak takes for references.
# shellcheck disable=SC2034 # used by the scripts that source this
debug_side() {
	local words=slab_debug=F
	debug_kernel='' debug_options=(--boot fast --mem "${MEM:-6144}" --silence 300)
	debug_settings=(TIME_SCALE="${TIME_SCALE:-6}" MESSAGES="${MESSAGES:-10000}"
		CALLS="${CALLS:-40000}" REPEAT="${REPEAT:-5}" ROUNDS="${ROUNDS:-1}"
		FAULT_ROUNDS="${FAULT_ROUNDS:-25}")
	case $1 in
	host)
		debug_kernel=debug debug_options+=(--append "$words")
		debug_settings+=(HOST_TOP="$DEBUG_COPY")
		;;
	guest) debug_settings+=(GUEST_TOP="$DEBUG_COPY" GUEST_WORDS="$words") ;;
	*) die "no side is called '$1'" "there are host and guest" ;;
	esac
}
