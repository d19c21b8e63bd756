#!/usr/bin/env bash
# Makes deploy.txt, local.txt and receivers.txt of deploy.in, local.in and receivers.in: all packages that those need, directly or not, for every system
# and every Python from 3.10 on, with the hashes of their wheels. Needs a network. A version that is locked stays, unless
# the .in file asks for another one; `lock.sh --upgrade` takes the newest of all others.
set -euo pipefail
cd "$(dirname "$0")"
venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: uv==0.13.9
for list in deploy local receivers; do
  "$venv/bin/uv" pip compile --quiet --universal --python-version 3.10 --generate-hashes --only-binary :all: \
    --no-annotate --no-header "$@" --output-file "$list.txt" "$list.in"
done
