# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What every script of env/ shares: where things are, messages, progress and
# the content keys of the cache. Sourced, not run.
#
# Layout of the cache ($VESPER_CACHE):
#   root/KEY/     Debian root in which everything is built and run
#   kernel/KEY/   prepared kernel tree (build/), modules (modules/) and vmlinuz;
#                 one of each KERNEL that was asked for
#   qemu/KEY/     QEMU source and build with qemu-patches/ applied
#   debs/ dist/   downloaded packages and source archives, kept for re-use
#   cargo/ ccache/ compiler and crate caches
#   log/ tmp/     logs of the set-up; unfinished work, removed at the next run
#
# An entry is built under tmp/ and renamed when complete, so that one which
# exists is one which is whole.

umask 022

VESPER_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
VESPER_ENV=$VESPER_TOP/env
VESPER_CACHE=${VESPER_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/vesper}
VESPER_LOCK=$VESPER_ENV/versions.lock
# A kernel release or flavour other than the lock file's, or 'debug': built from
# the lock file's source as env/debug.config says.
VESPER_KERNEL=${KERNEL:-}

# Where the entries of the cache are seen inside the root, whatever their key:
# build trees hold absolute paths and would not survive being renamed.
# shellcheck disable=SC2034 # used by the scripts that source this
KERNEL_IN_ROOT=/opt/vesper/kernel
# shellcheck disable=SC2034 # used by the scripts that source this
QEMU_IN_ROOT=/opt/vesper/qemu

say() { printf '%s\n' "env: $*" >&2; }
warn() { printf '%s\n' "env: WARNING: $*" >&2; }
die() {
	printf '%s\n' "env: ERROR: $1" >&2
	shift
	local line
	for line in "$@"; do printf '%s\n' "env:        $line" >&2; done
	exit 1
}

need_root() {
	[[ $EUID -eq 0 ]] ||
		die "this needs root (mount namespaces, chroot, apt)" \
			"run it as root, for example with: sudo -H make ..."
}

check_paths() {
	case $VESPER_CACHE$VESPER_TOP in
	*[:,\\\ ]*)
		die "neither the clone nor the cache may have a space, ':', ',' or '\\' in its path" \
			"clone: $VESPER_TOP" "cache: $VESPER_CACHE (set VESPER_CACHE to another place)" ;;
	esac
	[[ $VESPER_CACHE == /* ]] || die "VESPER_CACHE must be an absolute path, not '$VESPER_CACHE'"
}

# lock_get FIELD: the value of a one-word field of the lock file.
lock_get() {
	awk -v field="$1" '$1 == field { print $2; found = 1; exit } END { exit !found }' \
		"$VESPER_LOCK" || die "no field '$1' in $VESPER_LOCK"
}

# lock_lines FIELD: all values of a field, comments stripped.
lock_lines() { awk -v field="$1" '$1 == field { $1 = ""; print substr($0, 2) }' "$VESPER_LOCK"; }

# hash_of: a short content key of standard input.
hash_of() { sha256sum | cut -c1-16; }

root_key() {
	{
		lock_get suite
		lock_lines package
		cat "$VESPER_ENV"/packages.list "$VESPER_ENV"/lib/recipe-root
	} | hash_of
}

kernel_key() {
	{
		root_key
		lock_lines kernel-version
		lock_lines kernel-series
		lock_lines kernel-flavour
		printf '%s\n' "$VESPER_KERNEL"
		if [[ $VESPER_KERNEL == debug ]]; then
			cat "$VESPER_ENV"/lib/recipe-debug-kernel "$VESPER_ENV"/debug.config
		else
			cat "$VESPER_ENV"/lib/recipe-kernel
		fi
	} | hash_of
}

qemu_key() {
	local patch
	{
		root_key
		lock_lines qemu-version
		lock_lines sha256
		cat "$VESPER_ENV"/lib/recipe-qemu "$VESPER_ENV"/qemu-devices.mak
		for patch in "$VESPER_TOP"/qemu-patches/*.patch; do
			[[ -e $patch ]] || continue
			printf 'patch %s\n' "${patch##*/}"
			cat "$patch"
		done
	} | hash_of
}

# entry KIND: the directory of a cache entry, which may not exist yet.
entry() { printf '%s\n' "$VESPER_CACHE/$1/$("$1"_key)"; }

# require KIND...: fail with the remedy unless these entries exist.
require() {
	local kind
	for kind in "$@"; do
		[[ -d $(entry "$kind") ]] ||
			die "the $kind entry for this clone is not in the cache ($VESPER_CACHE)" \
				"run 'make setup' first"
	done
}

# kernel_release: the release of the kernel that was set up.
kernel_release() { cat "$(entry kernel)/release"; }

# with_progress LABEL LOG CMD...: run CMD with its output in LOG, a line on
# standard error every few seconds; show the end of the log if it fails. CMD
# should not be a function that lives on in a subshell: that would survive us.
with_progress() {
	local label=$1 log=$2 status=0 start=$SECONDS beat=0
	shift 2
	mkdir -p "${log%/*}"
	say "$label ..."
	"$@" >"$log" 2>&1 </dev/null &
	progress_pid=$!
	while kill -0 "$progress_pid" 2>/dev/null; do
		sleep 0.5
		beat=$((beat + 1))
		((beat % 10 == 0)) || continue
		printf 'env:   %4d s  %s\n' "$((SECONDS - start))" \
			"$(tail -c 2000 "$log" | tr '\r' '\n' | grep -a . | tail -n 1 | cut -c1-90)" >&2
	done
	wait "$progress_pid" || status=$?
	progress_pid=
	# What the recipes warn of must be seen even when all goes well.
	sed -n 's/^WARNING: //p' "$log" | while read -r line; do warn "$line"; done
	if ((status)); then
		tail -n 25 "$log" | sed 's/^/env:   | /' >&2
		die "$label: failed with status $status" "whole log: $log" \
			"after removing the cause, run the same command again: it goes on where it stopped"
	fi
	say "$label: done in $((SECONDS - start)) s"
}

# progress_kill: end what with_progress is running, for traps.
progress_kill() {
	[[ -z ${progress_pid:-} ]] || {
		kill -KILL "$progress_pid" 2>/dev/null || true
		wait "$progress_pid" 2>/dev/null || true
	}
}
