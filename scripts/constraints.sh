#!/bin/sh
# Write constraints.txt: the newest versions of everything that Futurama runs and is developed with.
set -eu
python=$(sh scripts/python.sh 3.11) || {
  echo "constraints are resolved with Python 3.11, the oldest supported one; it was not found" >&2
  exit 1
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder"
"$folder/bin/python" -m pip --quiet --quiet install '.[dev,bench,mysqlclient]'
{
  echo "# Made by \`make constraints\`: the versions that \`make\` installs."
  "$folder/bin/python" -m pip freeze --all --exclude pip --exclude futurama
} >constraints.txt
