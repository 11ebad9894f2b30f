#!/bin/sh
# See to it that the tests find the binaries of the servers that they start themselves.
# As root on Debian, installs what is missing, without starting any service of the system.
set -eu
# Debian hides servers from the PATH of users.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:$(printf '%s:' /usr/lib/postgresql/*/bin)

missing=
servers=
is_missing() { # name of the server, its Debian packages, the variable that names another server or "", its binaries
  server=$1 packages=$2 variable=$3
  shift 3
  [ -z "$variable" ] || eval "[ -z \"\${$variable:-}\" ]" || return 0
  for binary in "$@"; do
    ! command -v "$binary" >/dev/null || return 0
  done
  servers="$servers $server"
  missing="$missing $packages"
}
is_missing MariaDB 'mariadb-server-core mariadb-client-core' FUTURAMA_TEST_MYSQL_URL mariadbd mysqld
# The script for state transfers comes with the whole server, which needs galera-4 and rsync.
is_missing Galera mariadb-server '' wsrep_sst_rsync
is_missing PostgreSQL postgresql FUTURAMA_TEST_POSTGRESQL_URL postgres
is_missing Redis redis-server FUTURAMA_TEST_REDIS_URL redis-server
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  echo "installing the Debian packages$missing"
  # shellcheck disable=SC2086 # one word per package
  sh scripts/apt_install.sh $missing && exit 0
fi

cat >&2 <<END
======================================================================================
Not found:$servers. ALL TESTS ON THEM ARE SKIPPED (on CI they fail).
Install them (Debian: sudo apt-get install$missing), or name servers that run
already (no Galera): FUTURAMA_TEST_MYSQL_URL, FUTURAMA_TEST_POSTGRESQL_URL, FUTURAMA_TEST_REDIS_URL.
======================================================================================
END
