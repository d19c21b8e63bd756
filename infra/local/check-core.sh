#!/usr/bin/env bash
# lib/core holds pure rules: no runtime, no AWS, no HTTP client may get in, not even through a dependency.
set -euo pipefail
found=$(cargo tree --package signpost-core --edges normal --prefix none |
  grep -E '^(tokio|mio|hyper|reqwest|lambda_|aws_lambda|aws-(config|sdk|smithy|runtime|types|sigv4))' || true)
if [ -n "$found" ]; then
  printf 'signpost-core depends on what it must not know:\n%s\n' "$found" >&2
  exit 1
fi
