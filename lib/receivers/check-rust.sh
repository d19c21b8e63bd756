#!/usr/bin/env bash
# Checks the Rust package as `make check` checks Signpost's crates. It has a workspace of its own. usage: check-rust.sh CARGO_DENY
set -euo pipefail
cargo_deny=$(realpath "$1")
cd "$(dirname "$0")/rust"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../../../target}
cargo fmt --check
cargo clippy --locked --all-targets -- --deny warnings
RUSTDOCFLAGS="--deny warnings" cargo doc --locked --no-deps --quiet
"$cargo_deny" --log-level error --config ../../../deny.toml check bans licenses sources
cargo package --locked --no-verify --quiet --allow-dirty --list | grep -qx LICENSE-MIT
