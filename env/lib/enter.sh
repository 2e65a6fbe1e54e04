# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Runs a command inside the Debian root in namespaces of its own, so that
# neither mounts nor processes outlive it. Sourced, not run.

# The machine's own settings that must reach tools inside the root. Nothing
# else of the environment does.
ENTER_PASS=(TERM CI http_proxy https_proxy ftp_proxy no_proxy HTTP_PROXY HTTPS_PROXY
	NO_PROXY all_proxy ALL_PROXY SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE
	CARGO_HTTP_CAINFO CARGO_NET_OFFLINE CARGO_BUILD_JOBS RUST_BACKTRACE V W C CLIPPY KDIR
	KERNEL VESPER_ACCEL)

# enter_root [--writable] [--bind SRC[:DST]]... [--ro SRC[:DST]]...
#            [--dir DIR] [--env NAME=VALUE]... ROOT CMD...
# Without --writable, changes to ROOT go to a tmpfs and are gone afterwards.
# With --exec the calling shell becomes the command.
enter_root() {
	local mode=overlay replace='' binds=() vars=() dir=/ name pid status=0 run
	while [[ $1 == --* ]]; do
		case $1 in
		--writable) mode=writable; shift ;;
		--exec) replace=1; shift ;;
		--bind) binds+=("rw:$2"); shift 2 ;;
		--ro) binds+=("ro:$2"); shift 2 ;;
		--dir) dir=$2; shift 2 ;;
		--env) vars+=("$2"); shift 2 ;;
		*) die "enter_root: unknown option $1" ;;
		esac
	done
	for name in "${ENTER_PASS[@]}"; do
		[[ -n ${!name+set} ]] && vars+=("$name=${!name}")
	done
	mkdir -p "$VESPER_CACHE/mnt"
	# Killing unshare takes the whole process namespace with it, and so does
	# the death of its parent, even by SIGKILL.
	run=(setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child=KILL
		--propagation private -- bash "$VESPER_ENV/lib/enter-root"
		"$mode" "$VESPER_CACHE/mnt" "$dir" "${#binds[@]}" "${binds[@]}"
		"${#vars[@]}" "${vars[@]}" "$@")
	[[ -z $replace ]] || exec "${run[@]}"
	# unshare ignores the signals that should end it: so wait for it here.
	"${run[@]}" <&0 &
	pid=$!
	# shellcheck disable=SC2064 # expanded now: pid is local
	trap "kill -KILL $pid 2>/dev/null; exit 143" INT TERM HUP
	wait "$pid" || status=$?
	trap - INT TERM HUP
	return "$status"
}

# enter_env CMD...: as enter_root, with this clone, the kernel, QEMU and the
# caches in place; what is not in the cache yet is left out.
enter_env() {
	local args=() dir
	dir=$(entry kernel)
	if [[ -d $dir ]]; then
		args+=(--ro "$dir:$KERNEL_IN_ROOT" --ro "$dir/modules:/usr/lib/modules")
	fi
	dir=$(entry qemu)
	[[ -d $dir ]] && args+=(--bind "$dir:$QEMU_IN_ROOT")
	mkdir -p "$VESPER_CACHE/cargo"
	[[ -f ${CARGO_HOME:-$HOME/.cargo}/config.toml ]] &&
		args+=(--ro "${CARGO_HOME:-$HOME/.cargo}/config.toml:/root/.cargo/config.toml")
	[[ -n ${KDIR:-} && -d $KDIR ]] && args+=(--ro "$KDIR")
	enter_root "${args[@]}" --bind "$VESPER_CACHE" --bind "$VESPER_TOP" \
		--env "VESPER_CACHE=$VESPER_CACHE" --env "VESPER_TOP=$VESPER_TOP" \
		--env "CARGO_HOME=$VESPER_CACHE/cargo" \
		--env "RUST_LIB_SRC=/opt/vesper/rust-library" \
		--dir "${VESPER_DIR:-$VESPER_TOP}" "$(entry root)" "$@"
}
