#!/usr/bin/env bash
# Runs one step and says how long it took: scripts/step.sh NAME COMMAND [ARGUMENT...]
set -uo pipefail

name=$1
shift
printf '== %s\n' "$name"
begun=$SECONDS
"$@"
code=$?
if [ "$code" -eq 0 ]; then
  printf '== %s: done in %d s\n' "$name" "$((SECONDS - begun))"
else
  printf '== %s: failed with %d after %d s\n' "$name" "$code" "$((SECONDS - begun))" >&2
fi
exit "$code"
