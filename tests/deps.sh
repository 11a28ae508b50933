#!/bin/sh
# Install $PACKAGES with apt-get, those that are missing; idempotent.
# Where there is no apt-get, list what is needed and say so.
set -eu

if ! command -v apt-get >/dev/null 2>&1; then
	echo "deps: no apt-get here; install what these Debian packages hold:" >&2
	printf '  %s\n' $PACKAGES >&2
	exit 1
fi

missing=""
for p in $PACKAGES; do
	dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null |
		grep -qx installed || missing="$missing $p"
done
if [ -z "$missing" ]; then
	echo "deps: everything is installed"
	exit 0
fi

root=""
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null 2>&1 || {
		echo "deps: not root and no sudo; as root: apt-get install$missing" >&2
		exit 1
	}
	root=sudo
fi
echo "deps: installing$missing"
$root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq \
	--no-install-recommends $missing >/dev/null
echo "deps: done"
