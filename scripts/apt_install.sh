#!/bin/sh
# Install Debian packages without a question, without starting their services, and without a database
# that PostgreSQL would start at every boot; shows the log only when that fails.
set -eu
log=$(mktemp)
ours=$log
trap 'rm -f $ours' EXIT
meanwhile() { # a file and what is in it, unless there is one already
  if [ ! -e "$1" ]; then
    ours="$ours $1"
    mkdir -p "$(dirname "$1")"
    printf '%s\n' "$2" >"$1"
    chmod +x "$1"
  fi
}
# What Debian asks whether a service may be started, and whether to make a database.
meanwhile /usr/sbin/policy-rc.d '#!/bin/sh
exit 101'
meanwhile /etc/postgresql-common/createcluster.conf 'create_main_cluster = false'
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install --yes --no-install-recommends "$@"; } >"$log" 2>&1 </dev/null; then
  cat "$log" >&2
  exit 1
fi
