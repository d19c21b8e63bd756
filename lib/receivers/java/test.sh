#!/usr/bin/env bash
# Compiles the package, its tests and the examples with javac and the jars of Debian, and runs the tests. `mvn test` needs Maven
# Central. With --build it compiles the package and the examples only, into build/main and build/examples.
set -euo pipefail
cd "$(dirname "$0")"
jars=${JARS:-/usr/share/java}

path() { # names of jars
  local all=
  for name in "$@"; do all+=":$jars/$name.jar"; done
  echo "${all#:}"
}
junit=$(path junit-jupiter-{api,engine} junit-platform-{commons,console,engine,launcher,reporting} opentest4j apiguardian-api picocli \
  opentest4j-reporting-{events,schema})
spring=$(path spring3-{aop,beans,context,core,expression,web,web.servlet} commons-logging)
jetty=$(path jetty9-{http,io,security,server,servlet,util} servlet-api)

compile() { # folder for classes, class path, options, folders of sources
  local into=$1 path=$2 options=$3 sources
  shift 3
  mapfile -t sources < <(find "$@" -name '*.java')
  [ -d "$into" ] && [ -z "$(find "${sources[@]}" pom.xml test.sh -newer "$into" -print -quit)" ] && return
  rm -rf "$into"
  javac --release 17 -encoding UTF-8 "-Xlint:$options" -Werror -cp "$path" -d "$into" "${sources[@]}"
  touch "$into"
}
compile build/main "" all src/main
compile build/examples "build/main:$spring" all,-path,-classfile,-processing examples
[ "${1:-}" = --build ] && exit
compile build/test "build/main:build/examples:$junit:$spring:$jetty" all,-path,-classfile,-processing src/test src/frameworks
# The output of the servers is for a test that fails.
if ! java -cp "build/main:build/examples:build/test:$junit:$spring:$jetty" org.junit.platform.console.ConsoleLauncher \
  --disable-banner --disable-ansi-colors --fail-if-no-tests --scan-classpath build/test > build/log 2>&1; then
  cat build/log >&2
  exit 1
fi
grep -o '[1-9][0-9]* tests successful' build/log
