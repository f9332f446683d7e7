#!/usr/bin/env bash
# Everything that can be said about the sources without running them.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
cargo clippy --quiet --locked --all-targets --features failpoints -- -D warnings
# Modules explain themselves by linking to their private parts, which this build shows.
RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' cargo doc --quiet --locked --no-deps --lib --document-private-items
shellcheck scripts/*.sh .ci/run

# Compiling cargo-deny takes minutes, so it is used where it is; continuous integration installs it.
if cargo deny --version >/dev/null 2>&1; then
  cargo deny --locked --log-level error check bans licenses sources
else
  echo "cargo-deny is not installed, licences are not checked (cargo install --locked cargo-deny)"
fi
