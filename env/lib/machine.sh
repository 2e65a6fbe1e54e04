# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the set-up takes from the machine it runs on: a few packages, the
# Debian mirror and the way to it. Sourced, not run.

# host_packages: install what the machine itself must have.
host_packages() {
	local missing=()
	command -v debootstrap >/dev/null || missing+=(debootstrap)
	[[ -e /usr/share/keyrings/debian-archive-keyring.gpg ]] || missing+=(debian-archive-keyring)
	command -v setpriv >/dev/null || missing+=(util-linux)
	command -v gpgv >/dev/null || missing+=(gpgv)
	((${#missing[@]})) || return 0
	command -v apt-get >/dev/null ||
		die "this machine lacks ${missing[*]} and has no apt-get" \
			"the set-up is made for Debian 12 and 13; install these by hand elsewhere"
	with_progress "installing on this machine with apt: ${missing[*]}" \
		"$VESPER_CACHE/log/host-packages.log" install_host_packages "${missing[@]}"
}

install_host_packages() {
	export DEBIAN_FRONTEND=noninteractive
	apt-get -o DPkg::Lock::Timeout=300 update
	apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"
}

# debian_mirror: the Debian archive that this machine's apt uses.
debian_mirror() {
	local uri
	# Site, label and codename tell the main archive from the security one and
	# from third parties; label and codename are empty before 'apt-get update'.
	# shellcheck disable=SC2016 # apt expands it
	uri=$(apt-get indextargets --format '$(REPO_URI) $(COMPONENT) $(RELEASE) $(LABEL)' \
		'Created-By: Packages' 2>/dev/null |
		awk '$2 == "main" && $3 !~ /security/ && $1 !~ /security/ &&
			$3 ~ /^(bookworm|trixie|forky|sid|stable|oldstable|testing|unstable)$/ &&
			($4 == "" || $4 == "Debian") { print $1; exit }')
	[[ -n $uri ]] ||
		die "no Debian archive found in this machine's apt configuration" \
			"'apt-get indextargets' should list the component 'main' of a Debian suite"
	uri=${uri%/}
	case $uri in
	mirror+file:*)
		# A list of mirrors, as on Debian's cloud images: take the first.
		uri=$(sed -n 's/^\([a-z]*:[^ \t]*\).*/\1/p' "/${uri#mirror+file:*/}" | head -n 1) ;;
	esac
	[[ $uri =~ ^(https?|file):/ ]] ||
		die "the Debian archive of this machine's apt cannot be used by debootstrap: $uri" \
			"an http, https or file URI of the archive is needed first in apt's sources"
	printf '%s\n' "${uri%/}"
}

# machine_apt_conf: apt options for the root, from the machine's: proxies,
# timeouts and certificates, but not its directories or hooks.
machine_apt_conf() {
	apt-config dump | grep -E '^Acquire::(http|https|ForceIPv4|ForceIPv6|Retries)[: ]' |
		grep -v -E '^Acquire::https::(CAInfo|CAPath|SslCert|SslKey) ' || true
	cat <<-'CONF'
		APT::Sandbox::User "root";
		APT::Install-Recommends "false";
		Acquire::Retries "3";
		Acquire::https::CAInfo "/run/vesper/ca.crt";
		Dir::Cache::archives "/var/cache/vesper-debs";
		Binary::apt::APT::Keep-Downloaded-Packages "true";
		DPkg::Options:: "--force-unsafe-io";
	CONF
}

# machine_files DIR: what a recipe finds in /run/vesper.
machine_files() {
	local bundle
	mkdir -p "$1"
	machine_apt_conf >"$1/apt.conf"
	debian_mirror >"$1/mirror"
	cp "$VESPER_LOCK" "$VESPER_ENV/packages.list" "$1"
	: >"$1/ca.crt"
	bundle=$(apt-config shell file Acquire::https::CAInfo | sed -n "s/^file='\(.*\)'$/\1/p")
	for bundle in "$bundle" "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt; do
		[[ -n $bundle && -s $bundle ]] || continue
		cat "$bundle" >"$1/ca.crt"
		break
	done
	# Either may be missing, in a container for instance.
	cat /etc/resolv.conf >"$1/resolv.conf" 2>/dev/null || :
	cat /etc/hosts >"$1/hosts" 2>/dev/null || :
}
