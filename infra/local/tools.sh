#!/usr/bin/env bash
# Sets up what `make` needs beside Rust, Python and a C compiler: a private venv with the pinned packages of
# requirements.txt, and the JavaScript package of verify/. Does nothing when that is there already.
# usage: tools.sh VENV
set -euo pipefail
venv=$1
here=$(cd "$(dirname "$0")" && pwd)

need() { # command, how to install it
  command -v "$1" >/dev/null || { echo "$1 is missing: $2" >&2; exit 1; }
}
need cargo "install Rust with rustup, https://rustup.rs"
wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$here/../../Cargo.toml")
found=$(cargo --version | cut -d' ' -f2)
[ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" = "$wanted" ] ||
  { echo "cargo is $found: update to Rust $wanted or later, such as with 'rustup update stable'" >&2; exit 1; }
need ps "install it, such as with 'apt-get install procps'"
need cc "install a C compiler, such as with 'apt-get install gcc' or 'xcode-select --install'"
need openssl "install OpenSSL 3, such as with 'apt-get install openssl' or 'brew install openssl'"
need python3 "install Python 3.10 or later, such as with 'apt-get install python3 python3-venv'"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  { echo "python3 is $(python3 -V | cut -d' ' -f2): install Python 3.10 or later" >&2; exit 1; }
python3 -c 'import ensurepip, venv' 2>/dev/null ||
  { echo "python3 cannot make a venv: install it, such as with 'apt-get install python3-venv'" >&2; exit 1; }

if [ "$(cat "$venv/made-from" 2>/dev/null)" != "$(cksum < "$here/requirements.txt")" ]; then
  echo "· Setting up the local stack's tools in $venv (once; a minute or two)"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
  cksum < "$here/requirements.txt" > "$venv/made-from"
fi
verify=$here/verify
if [ "$verify/package-lock.json" -nt "$verify/node_modules/.package-lock.json" ]; then
  (cd "$verify" && PATH="$venv/bin:$PATH" npm ci --silent --no-audit --no-fund)
fi
