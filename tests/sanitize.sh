#!/usr/bin/env bash
# The unsafe code of kiln-nn (vectors, packed products, convolution, tensors unwritten until filled) under AddressSanitizer:
# its whole test run, on every set of vectors that this machine has. Burn is compiled with the sanitizer too: about 10
# minutes on 2 cores the first time. Usage: tests/sanitize.sh [words of cargo test]
# Rust's stable compiler knows the sanitizer only when asked with RUSTC_BOOTSTRAP; nothing is installed.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/kiln-target}/sanitize
export RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address ${RUSTFLAGS:-}"
export ASAN_OPTIONS=detect_leaks=0:${ASAN_OPTIONS:-} # rayon's workers live as long as the process
host=$(rustc -vV | sed -n 's/^host: //p')
cargo test --locked --release -p kiln-nn --target "$host" "$@"
