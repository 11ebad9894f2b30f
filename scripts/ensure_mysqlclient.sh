#!/bin/sh
# See to it that PYTHON has mysqlclient, the C driver of the MySQL backend: `ensure_mysqlclient.sh PYTHON`.
# It has to be built. As root on Debian, installs what that takes.
set -eu
python=$1
is_there() {
  "$python" -c 'import MySQLdb' 2>/dev/null
}
! is_there || exit 0

missing=
command -v gcc >/dev/null || missing="$missing gcc libc6-dev"
command -v pkg-config >/dev/null || missing="$missing pkg-config"
pkg-config --exists mysqlclient 2>/dev/null || pkg-config --exists libmariadb 2>/dev/null ||
  missing="$missing libmariadb-dev"
"$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
  missing="$missing python3-dev"
if [ -n "$missing" ] && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  echo "installing the Debian packages$missing"
  # shellcheck disable=SC2086 # one word per package
  sh scripts/apt_install.sh $missing && missing=
fi

echo "building mysqlclient"
"$python" -m pip --quiet --quiet --disable-pip-version-check install -c constraints.txt mysqlclient &&
  is_there && exit 0

cat >&2 <<END
======================================================================================
mysqlclient could not be built. ALL TESTS OF THAT DRIVER ARE SKIPPED (on CI they fail).
Install what building takes (Debian: sudo apt-get install${missing:- pkg-config libmariadb-dev gcc python3-dev}).
======================================================================================
END
