#!/usr/bin/env bash
# Installs the tools that `make` needs besides Rust, Python and a C compiler, each set in a private venv. Versions and
# hashes of the packages are in infra/tools/*.txt. Does nothing if the tools are installed already.
# usage: tools.sh DEPLOY_VENV           only the tools that deploy to AWS
#        tools.sh DEPLOY_VENV VENV      also the tools of the local stack, checks and tests
set -euo pipefail
deploy_venv=$1 venv=${2:-}
here=$(cd "$(dirname "$0")" && pwd)

need() { # command, how to install it
  command -v "$1" >/dev/null || { echo "$1 is missing: $2" >&2; exit 1; }
}
need cargo "install Rust with rustup, https://rustup.rs"
wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$here/../../Cargo.toml")
found=$(cargo --version | cut -d' ' -f2)
[ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" = "$wanted" ] ||
  { echo "cargo is $found: update to Rust $wanted or later, such as with 'rustup update stable'" >&2; exit 1; }
need python3 "install Python 3.10 or later, such as with 'apt-get install python3 python3-venv'"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  { echo "python3 is $(python3 -V | cut -d' ' -f2): install Python 3.10 or later" >&2; exit 1; }
python3 -c 'import ensurepip, venv' 2>/dev/null ||
  { echo "python3 cannot make a venv: install it, such as with 'apt-get install python3-venv'" >&2; exit 1; }

# Prints how far pip is: over and over in one line of a terminal, else every 25 packages.
progress() {
  local done=0
  while read -r word package _; do
    case $word in
      Collecting)
        done=$((done + 1))
        if [ -t 1 ]; then printf '\r  %d fetched: %-50.50s' "$done" "$package"
        elif [ $((done % 25)) = 0 ]; then echo "  $done fetched"; fi ;;
      Installing)
        if [ -t 1 ]; then printf '\r%-80s\r' ''; fi
        echo "  $done fetched; unpacking them" ;;
    esac
  done
}

make_venv() { # venv, name of the lists in infra/tools, what they are for
  wanted=$here/../tools/$2.in locked=$here/../tools/$2.txt
  while read -r pin; do
    grep -qixF "$pin \\" "$locked" ||
      { echo "infra/tools/$2.txt lacks $pin, which $2.in requires: run infra/tools/lock.sh" >&2; exit 1; }
  done < <(sed -n 's/^\([A-Za-z-]*\)\(\[.*\]\)\?\(==[0-9.]*\).*/\1\3/p' "$wanted")
  [ "$(cat "$1/made-from" 2>/dev/null)" = "$(cksum < "$locked")" ] && return
  echo "· Installing $3 into $1, once: some $(grep -c '==' "$locked") Python packages"
  rm -rf "$1"
  python3 -m venv "$1"
  # Installs only packages in the list, with the hashes in the list. Builds nothing, because a build would run code of
  # packages that no list names.
  "$1/bin/pip" install --progress-bar off --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    --requirement "$locked" | progress
  cksum < "$locked" > "$1/made-from"
}

make_venv "$deploy_venv" deploy "SAM and cargo-lambda"
[ -n "$venv" ] || exit 0

need ps "install it, such as with 'apt-get install procps'"
need cc "install a C compiler, such as with 'apt-get install gcc' or 'xcode-select --install'"
need openssl "install OpenSSL 3, such as with 'apt-get install openssl' or 'brew install openssl'"
make_venv "$venv" local "the local stack, checkers and verifiers"
make_venv "$venv-receivers" receivers "what the tests of the receiver packages run with"
for tool in sam cargo-lambda; do   # The local stack is deployed by the tools that deploy to AWS.
  ln -sf "$deploy_venv/bin/$tool" "$venv/bin/$tool"
done
install_npm() { # folder, what its packages do
  [ "$1/package-lock.json" -nt "$1/node_modules/.package-lock.json" ] || return 0
  echo "· Installing the JavaScript libraries that $2 into $1, once"
  (cd "$1" && PATH="$venv/bin:$PATH" npm ci --silent --no-audit --no-fund)
}
install_npm "$here/verify" "verify signatures"
install_npm "$here/../browser" "drive a browser"
install_npm "$here/../../lib/receivers/javascript" "check the types of a receiver package"
