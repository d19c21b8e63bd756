#!/usr/bin/env bash
# Looks for known vulnerabilities in what Signpost is built from (RustSec, for each Cargo.lock) and in the JavaScript that tests
# run (npm, for each package-lock.json). Both lists come from the network. With --if-reachable the script says that a list
# cannot be fetched, and goes on; without it, the script fails.
# usage: check-advisories.sh CARGO_DENY TOOLS [--if-reachable]
set -euo pipefail
cargo_deny=$1 tools=$2 if_reachable=${3:-}
cd "$(dirname "$0")/../.."

unreachable() { # what
  echo "· NOT CHECKED: advisories from $1, which cannot be reached. 'make advisories' fails in this case." >&2
  [ "$if_reachable" = --if-reachable ] || exit 1
}

if "$cargo_deny" --log-level off fetch db 2>/dev/null; then
  "$cargo_deny" --offline --log-level error check advisories
  "$cargo_deny" --offline --log-level error --manifest-path lib/receivers/rust/Cargo.toml --config deny.toml check advisories
else
  unreachable "the RustSec database"
fi
for folder in infra/local/verify infra/browser lib/receivers/javascript; do
  if (cd "$folder" && PATH="$tools/bin:$PATH" npm audit --package-lock-only --audit-level=none >/dev/null 2>&1); then
    (cd "$folder" && PATH="$tools/bin:$PATH" npm audit --package-lock-only)
  else
    unreachable "npm's list"
  fi
done
