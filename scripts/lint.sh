#!/usr/bin/env bash
# Everything that can be said about the sources without running them.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
cargo clippy --quiet --locked --all-targets --features failpoints -- -D warnings
# Modules explain themselves by linking to their private parts, which this build shows.
RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' cargo doc --quiet --locked --no-deps --lib --document-private-items
shellcheck scripts/*.sh .ci/run

# scripts/setup.sh lint compiles it where it is not installed.
PATH="$PATH:$PWD/target/tools/bin" cargo deny --locked --log-level error check bans licenses sources
