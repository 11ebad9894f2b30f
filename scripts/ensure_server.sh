#!/bin/sh
# See to it that the tests find a MariaDB or MySQL server binary to start their own server from.
# Installs the binary alone (mariadb-server-core), so that no service of the system is started.
set -eu
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # Debian hides servers from the PATH of users

[ -z "${FUTURAMA_TEST_MYSQL_URL:-}" ] || exit 0
! command -v mariadbd >/dev/null || exit 0
! command -v mysqld >/dev/null || exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  echo "installing the Debian packages mariadb-server-core and mariadb-client-core"
  sh scripts/apt_install.sh mariadb-server-core mariadb-client-core && exit 0
fi

cat >&2 <<'END'
======================================================================================
No mariadbd or mysqld was found: ALL TESTS ON MYSQL ARE SKIPPED (on CI they fail).
Install one (Debian: sudo apt-get install mariadb-server-core mariadb-client-core), or
name a server with a database for tests: FUTURAMA_TEST_MYSQL_URL=mysql://user@host/db
======================================================================================
END
