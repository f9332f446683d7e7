#!/usr/bin/env bash
# Runs all tests, or those that match the arguments, with cargo-nextest if it is installed, else with cargo test.
#
#   scripts/suite.sh --no-run      builds only
#   scripts/suite.sh a_rolled_back
set -euo pipefail
cd "$(dirname "$0")/.."

# Every test makes a thousand small files for its servers, which a memory file system does in half the time of a busy
# disk. Four tests at once need less than one GB of the two asked for.
free=$(df -k --output=avail /dev/shm 2>/dev/null | tail -n 1 || true)
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] && [ "${free:-0}" -ge 2000000 ]; then
  export TMPDIR=/dev/shm
fi

if cargo nextest --version >/dev/null 2>&1; then
  if [ "${1:-}" = --no-run ]; then
    exec cargo nextest run --locked --features failpoints --no-run
  fi
  cargo nextest run --locked --features failpoints --no-tests pass "$@"
else
  if [ "${1:-}" = --no-run ]; then
    exec cargo test --locked --features failpoints --lib --test suite --no-run
  fi
  if [ $# -gt 0 ]; then
    cargo test --locked --features failpoints --lib --test suite -- "$@"
  else
    # As .config/nextest.toml has it: most tests wait more than they compute, and the matrix has the machine to itself.
    cargo test --locked --features failpoints --lib --test suite -- --test-threads 4 --skip matrix::whatever
    cargo test --locked --features failpoints --test suite -- --test-threads 1 matrix::whatever
  fi
fi
# Nextest leaves these out.
cargo test --quiet --locked --features failpoints --doc -- "$@"
