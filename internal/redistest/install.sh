#!/usr/bin/env bash
# Installs the Redis servers that tests start, where they are missing and this may:
# bash internal/redistest/install.sh
set -euo pipefail
if command -v redis-server >/dev/null && command -v redis-sentinel >/dev/null; then
	exit 0
fi
install="apt-get install -y --no-install-recommends redis-server redis-sentinel redis-tools"
if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
	export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive # no daemon starts
	apt-get update -qq
	exec $install
fi
if [[ $(uname) == Darwin ]]; then
	install="brew install redis"
else
	install="sudo RUNLEVEL=1 $install"
fi
echo "redis-server is missing: $install" >&2
exit 1
