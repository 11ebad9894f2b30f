#!/bin/sh
# Install Debian packages without a question; shows the log only when that fails.
set -eu
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install --yes --no-install-recommends "$@"; } >"$log" 2>&1 </dev/null; then
  cat "$log" >&2
  exit 1
fi
