#!/bin/sh
# Make a virtual environment: `venv.sh FOLDER [PYTHON]`; on Debian, as root, with what it lacks.
set -eu
folder=$1
python=${2:-$(sh scripts/python.sh)} || {
  echo "Futurama needs Python 3.11 or newer; none is on PATH: install it, or name it: make PYTHON=..." >&2
  exit 1
}

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "$python has no working venv module; on Debian: sudo apt-get install $package" >&2
    exit 1
  fi
  echo "installing the Debian package $package"
  sh scripts/apt_install.sh "$package"
fi

echo "making the virtual environment $folder with $("$python" --version)"
"$python" -m venv --clear "$folder"
