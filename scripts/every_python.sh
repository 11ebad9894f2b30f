#!/bin/sh
# Run `make test` under every supported Python that this machine has, each in its own environment.
set -eu
missing= passed= failed=
for version in 3.11 3.12 3.13; do
  if ! python=$(sh scripts/python.sh "$version"); then
    missing="$missing $version"
    continue
  fi
  echo "=== Python $version"
  if "${MAKE:-make}" --no-print-directory test VENV=".venv-$version" PYTHON="$python"; then
    passed="$passed $version"
  else
    failed="$failed $version"
  fi
done
echo "=== passed:${passed:- none}"
[ -z "$missing" ] || echo "=== NOT FOUND, NOT TESTED:$missing" >&2
[ -z "$failed" ] || echo "=== FAILED:$failed" >&2
[ -z "$failed" ] && [ -n "$passed" ]
