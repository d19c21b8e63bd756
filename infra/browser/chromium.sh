#!/usr/bin/env bash
# Prints the program of Chromium, or of Chrome, that the tests of the integrators' page drive. CHROMIUM can name another one.
set -euo pipefail
for program in "${CHROMIUM:-}" chromium chromium-browser google-chrome "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do
  [ -n "$program" ] && command -v "$program" && exit
done
echo "chromium is missing: install it, such as with 'apt-get install chromium', or set CHROMIUM to a program" >&2
exit 1
