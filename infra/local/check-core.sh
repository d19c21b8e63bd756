#!/usr/bin/env bash
# lib/core holds pure rules, and lib/engine the steps of a delivery. Neither may depend on a runtime, AWS or an HTTP client, not
# even through another crate.
set -euo pipefail
for crate in signpost-core signpost-engine; do
  found=$(cargo tree --package "$crate" --edges normal --prefix none |
    grep -E '^(tokio|mio|hyper|reqwest|lambda_|aws_lambda|aws-(config|sdk|smithy|runtime|types|sigv4))' || true)
  if [ -n "$found" ]; then
    printf '%s has forbidden dependencies:\n%s\n' "$crate" "$found" >&2
    exit 1
  fi
done
