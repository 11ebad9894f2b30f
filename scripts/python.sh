#!/bin/sh
# Print a Python that can run Futurama: `python.sh` the best on PATH, `python.sh 3.12` exactly that
# one, also from pyenv. Says nothing and fails when there is none.
set -eu

suits() { # command, version or nothing
  "$1" - "${2:-}" 2>/dev/null <<'END'
import sys
have, want = sys.version_info[:2], sys.argv[1]
sys.exit(have < (3, 11) or want not in ("", "%d.%d" % have))
END
}

if [ $# -gt 0 ]; then
  set -- "$1" "python$1" "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$1".*/bin/python
  want=$1
  shift
else
  set -- python3 python3.13 python3.12 python3.11
  want=
fi
for candidate; do
  if suits "$candidate" "$want"; then
    echo "$candidate"
    exit
  fi
done
exit 1
