# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# How the entries of the cache are built, for env/setup and env/update.
# Sourced, not run.

# cache_begin: take the cache for ourselves and make it ready for building.
cache_begin() {
	mkdir -p "$VESPER_CACHE"/{tmp,log,debs,dist,root,kernel,qemu}
	exec 9>"$VESPER_CACHE/lock"
	if ! flock --nonblock 9; then
		say "another set-up is using $VESPER_CACHE; waiting for it"
		flock 9
	fi
	# Whoever held the lock is gone, so what is in tmp/ is no one's.
	discard "$VESPER_CACHE"/tmp/*
	trap 'progress_kill; discard "$VESPER_CACHE"/tmp/*' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	host_packages
	machine_files "$VESPER_CACHE/tmp/machine"
}

# cache_keep STEP: what was built in tmp/STEP is whole: make it an entry.
cache_keep() {
	sync --file-system "$VESPER_CACHE/tmp/$1"
	mv -T "$VESPER_CACHE/tmp/$1" "$(entry "$1")"
}

# build_* DIR: build that entry in DIR.
build_root() {
	local tmp=$1 mirror proxy=
	mirror=$(cat "$VESPER_CACHE/tmp/machine/mirror")
	eval "$(apt-config shell proxy Acquire::http::Proxy)"
	[[ -z $proxy || -n ${http_proxy:-} ]] || export http_proxy=$proxy
	mkdir -p "$VESPER_CACHE/debs/partial"
	# debootstrap mounts things in its target.
	with_progress "Debian $(lock_get suite) root: base system from $mirror" \
		"$VESPER_CACHE/log/root-base.log" \
		setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child=KILL \
		debootstrap --variant=minbase --cache-dir="$VESPER_CACHE/debs" \
		"$(lock_get suite)" "$tmp" "$mirror"
	with_progress "Debian $(lock_get suite) root: packages" "$VESPER_CACHE/log/root.log" \
		enter_root --exec --writable --ro "$VESPER_CACHE/tmp/machine:/run/vesper" \
		--bind "$VESPER_CACHE/debs:/var/cache/vesper-debs" \
		--ro "$VESPER_ENV/lib/recipe-root:/run/recipe" \
		--env "VESPER_PINS=${VESPER_PINS:-}" "$tmp" bash /run/recipe
}

build_kernel() {
	if [[ $VESPER_KERNEL == debug ]]; then
		build_debug_kernel "$1"
		return
	fi
	with_progress "kernel tree for Rust modules" "$VESPER_CACHE/log/kernel.log" \
		enter_root --exec --ro "$VESPER_CACHE/tmp/machine:/run/vesper" \
		--bind "$VESPER_CACHE/debs:/var/cache/vesper-debs" \
		--ro "$VESPER_ENV/lib/recipe-kernel:/run/recipe" \
		--bind "$1:$KERNEL_IN_ROOT" "$(entry root)" bash /run/recipe "$VESPER_KERNEL"
	say "kernel release: $(cat "$1/release")"
}

build_debug_kernel() {
	mkdir -p "$VESPER_CACHE/ccache"
	with_progress "debug kernel (the longest step of all: 10 to 20 minutes)" \
		"$VESPER_CACHE/log/debug-kernel.log" \
		enter_root --exec --ro "$VESPER_CACHE/tmp/machine:/run/vesper" \
		--bind "$VESPER_CACHE/debs:/var/cache/vesper-debs" \
		--bind "$VESPER_CACHE/ccache:/var/cache/ccache" \
		--ro "$VESPER_ENV/debug.config:/run/debug.config" \
		--ro "$VESPER_ENV/lib/recipe-debug-kernel:/run/recipe" \
		--bind "$1:$KERNEL_IN_ROOT" "$(entry root)" bash /run/recipe
	say "kernel release: $(cat "$1/release")"
}

build_qemu() {
	mkdir -p "$VESPER_CACHE/dist" "$VESPER_CACHE/ccache"
	mkdir -p "$1/patches"
	cp "$VESPER_ENV/qemu-devices.mak" "$1/"
	cp "$VESPER_TOP"/qemu-patches/*.patch "$1/patches/" 2>/dev/null ||
		warn "qemu-patches/ holds no patches: building QEMU as Debian has it"
	with_progress "QEMU with qemu-patches/ (the longest step)" "$VESPER_CACHE/log/qemu.log" \
		enter_root --exec --ro "$VESPER_CACHE/tmp/machine:/run/vesper" \
		--bind "$VESPER_CACHE/dist:/var/cache/vesper-dist" \
		--bind "$VESPER_CACHE/ccache:/var/cache/ccache" \
		--ro "$VESPER_ENV/lib/recipe-qemu:/run/recipe" \
		--bind "$1:$QEMU_IN_ROOT" "$(entry root)" bash /run/recipe
}

# discard PATH...: remove unfinished work. --one-file-system: should anything
# be mounted there after all, leave it alone.
discard() { rm -rf --one-file-system -- "$@"; }
