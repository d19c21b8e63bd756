#!/usr/bin/env bash
# lib/core holds pure rules. It must not depend on a runtime, AWS or an HTTP client, not even through another crate.
set -euo pipefail
found=$(cargo tree --package signpost-core --edges normal --prefix none |
  grep -E '^(tokio|mio|hyper|reqwest|lambda_|aws_lambda|aws-(config|sdk|smithy|runtime|types|sigv4))' || true)
if [ -n "$found" ]; then
  printf 'signpost-core has forbidden dependencies:\n%s\n' "$found" >&2
  exit 1
fi
