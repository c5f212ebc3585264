#!/usr/bin/env bash
# Assembles Apache Kafka from its Maven artifacts (tests/broker/pom.xml) and prints the folder with the jars as the only
# line on standard output. Kept under the hash of the pom, so that a second call does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

pom="tests/broker/pom.xml"
hash="$(sha256sum "$pom" | cut -c1-16)"
root="${XDG_CACHE_HOME:-$HOME/.cache}/skewd-broker"
libs="$root/$hash"

fail() { echo "kafka-broker.sh: $*" >&2; exit 1; }

if [ ! -e "$libs/.complete" ]; then
  for tool in java mvn; do
    command -v "$tool" >/dev/null || fail "$tool is missing: install a Java 17 runtime and Maven"
  done
  mkdir -p "$root"
  work="$(mktemp -d -p "$root")"
  trap 'rm -rf "$work"' EXIT
  # Mirrors answer slowly at times; what was downloaded is kept by Maven.
  for attempt in 1 2 3; do
    if mvn -B -q -f "$pom" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$work" >&2; then
      break
    fi
    [ "$attempt" = 3 ] && fail "Maven could not fetch the broker's artifacts (see above)"
    sleep 5
  done
  ls "$work"/kafka_2.13-*.jar >/dev/null 2>&1 || fail "the artifacts hold no broker: look at $pom"
  touch "$work/.complete"
  rm -rf "$libs"
  mv "$work" "$libs"
  trap - EXIT
fi
echo "$libs"
