#!/usr/bin/env bash
# Checks that the documents point to what is there: the tests that they name, the files that they link to, the targets of
# make that they name, and the paths of files in CONTRIBUTING.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
documents=(*.md docs/*.md docs/adr/*.md)
missing=0
complain() { echo "$1" >&2; missing=1; }

# A test's name is a sentence of at least five words.
while read -r name; do
  grep -rqE "fn $name\(" lib functions || complain "no test has the name $name"
done < <(grep -ohE "\`[a-z0-9]+(_[a-z0-9]+){4,}\`" "${documents[@]}" | tr -d "\`" | sort -u)

for document in "${documents[@]}"; do
  while read -r link; do
    [ -e "$(dirname "$document")/$link" ] || complain "$document links to $link, which does not exist"
  done < <(grep -oE '\]\([^)#]+' "$document" | cut -c3- | grep -v '^https:')
done

# CONTRIBUTING.md names the files that a change touches. A path has a folder, or an ending that files here have.
while read -r path; do
  [ -e "$path" ] || complain "CONTRIBUTING.md names $path, which is not there"
done < <(grep -oE "\`[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]*)+\`|\`[A-Za-z-]+\.(md|yaml|toml|json)\`" CONTRIBUTING.md | tr -d "\`" | sort -u)

while read -r target; do
  grep -qE "^$target:" Makefile || complain "the documents name 'make $target', which does not exist"
done < <(grep -ohE "\`make [a-z]+" "${documents[@]}" | cut -d' ' -f2 | sort -u)
exit "$missing"
