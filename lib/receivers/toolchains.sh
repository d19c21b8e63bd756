#!/usr/bin/env bash
# Looks for what the tests of the receivers need besides the tools of infra/local/tools.sh: a JDK, with the jars of Debian below
# JARS, Go, PHP and Ruby. Prints what is missing, and ends with 1 if anything is. With --packages it prints the packages of Debian that have them.
set -euo pipefail
packages="openjdk-17-jdk-headless junit5 libspring-web-servlet-java libjetty9-java golang-go php-cli ruby"
jars=${JARS:-/usr/share/java}
[ "${1:-}" = --packages ] && { echo "$packages"; exit; }
missing=()
for command in java javac go php ruby; do
  command -v "$command" > /dev/null || missing+=("$command")
done
for jar in junit-jupiter-api spring3-web.servlet jetty9-servlet servlet-api; do
  [ -e "$jars/$jar.jar" ] || missing+=("$jars/$jar.jar")
done
[ ${#missing[@]} = 0 ] && exit
echo "${missing[*]}: missing; install them, such as with 'apt-get install $packages', or set JARS to a folder with such jars" >&2
exit 1
