#!/bin/sh
# Install the Debian packages that the demo (`demo`) or all tests (`test`) need.
# Says nothing when all is there, asks nothing, starts no service.
set -eu

wanted="python3 python3-venv containerd runc nftables busybox-static runsc"
[ "${1:-}" = test ] && wanted="$wanted iproute2 skopeo etcd-server etcd-client"
# The runsc of Debian 12 itself lacks the systrap platform; its backport has it.
oldest_runsc="0.0~20240701"

fail() {
	echo "miren: $1" >&2
	exit 1
}

version_of() {
	dpkg-query -W -f '${db:Status-Abbrev}${Version}' "$1" 2>/dev/null | sed -n 's/^ii *//p'
}

missing=
for package in $wanted; do
	installed=$(version_of "$package")
	if [ -z "$installed" ]; then
		missing="$missing $package"
	elif [ "$package" = runsc ] && dpkg --compare-versions "$installed" lt "$oldest_runsc"; then
		missing="$missing runsc"
	fi
done
[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null 2>&1 || fail "needs Debian packages:$missing"
if [ "$(id -u)" != 0 ]; then
	[ "${1:-}" = demo ] || fail "needs root to install:$missing"
	echo "miren: not root, so these stay missing:$missing" >&2
	exit 0
fi

export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
policy=/usr/sbin/policy-rc.d
ours=
cleanup() {
	rm -f "$log"
	[ -z "$ours" ] || rm -f "$policy"
}
trap cleanup EXIT

apt() {
	apt-get -o DPkg::Lock::Timeout=300 -qq "$@" >"$log" 2>&1 || {
		tail -n 15 "$log" >&2
		fail "apt-get $1 failed; wanted:$missing"
	}
}

# invoke-rc.d and deb-systemd-invoke both ask this file before they start a service.
if [ ! -e "$policy" ]; then
	ours=yes
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi

newest_runsc() {
	apt-cache policy runsc | sed -n 's/^ *Candidate: //p'
}

echo "miren: installing$missing"
apt update
suite=
case " $missing " in
*" runsc "*)
	if dpkg --compare-versions "$(newest_runsc)" lt "$oldest_runsc"; then
		codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
		suite="$codename-backports"
		# The same server as the machine's own Debian source.
		uri=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
			awk -v code="$codename" '$1 == code {print $2; exit}')
		key=/usr/share/keyrings/debian-archive-keyring.gpg
		[ -n "$uri" ] || fail "no Debian source for $codename to take $suite from"
		{
			echo "Types: deb"
			echo "URIs: $uri"
			echo "Suites: $suite"
			echo "Components: main"
			[ ! -e "$key" ] || echo "Signed-By: $key"
		} >/etc/apt/sources.list.d/miren-backports.sources
		apt update
	fi
	;;
esac
# shellcheck disable=SC2086  # a list of names
apt install -y --no-install-recommends $(echo "$missing" | sed 's/ runsc\b//')
case " $missing " in
*" runsc "*)
	apt install -y --no-install-recommends ${suite:+-t "$suite"} runsc
	dpkg --compare-versions "$(version_of runsc)" ge "$oldest_runsc" ||
		fail "runsc $(version_of runsc) is too old: it has no systrap platform"
	;;
esac
