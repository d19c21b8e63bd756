#!/usr/bin/env bash
# Runs the tests of the receiver packages, each with all of docs/vectors.json. Its tools are those that infra/local/tools.sh
# installs, and those that toolchains.sh looks for. usage: test.sh TOOLS
set -euo pipefail
tools=$(cd "$1" && pwd)
cd "$(dirname "$0")"
./toolchains.sh
export PATH="$tools/bin:$PATH" PYTHONDONTWRITEBYTECODE=1
# Rust packages of the same version and features are compiled once, here and for Signpost.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../../target}
verify=../../infra/local/verify
echo "· Libraries of others"
timeout 60 python "$verify/vectors.py" ../../docs/vectors.json
timeout 60 node "$verify/vectors.mjs" ../../docs/vectors.json
echo "· Python"
(cd python && PYTHONPATH=. timeout 120 "$tools-receivers/bin/python" -W error::ResourceWarning -m unittest discover --start-directory tests)
echo "· JavaScript"
(cd javascript && timeout 120 node --test --test-timeout=30000 --test-reporter=dot test/*.test.js && node_modules/.bin/tsc --project test)
echo "· Rust"
(cd rust && cargo test --locked --quiet --no-run && timeout 120 cargo test --locked --quiet)
echo "· Java"
timeout 300 java/test.sh
echo "· Go, PHP and Ruby"
(cd go && test -z "$(gofmt -l .)" && go vet ./... && timeout 120 go test -count=1 ./...)
timeout 60 php php/vectors.php
timeout 60 ruby -w ruby/vectors.rb
