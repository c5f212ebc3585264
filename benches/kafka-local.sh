#!/usr/bin/env bash
# A throw-away Apache Kafka on this machine, for tours and benches. Stops, and leaves nothing, with Ctrl-C.
#   bash benches/kafka-local.sh [PORT] [TOPIC] [PARTITIONS]       defaults: 9092 examples 1
# Needs Java 17 and Maven; the jars are fetched at the first call.
set -euo pipefail
cd "$(dirname "$0")/.."
port="${1:-9092}" topic="${2:-examples}" partitions="${3:-1}"
libs="$(bash .ci/kafka-broker.sh)"
dir="$(mktemp -d)"
broker=""
stop() {
  trap - EXIT INT TERM
  [ -z "$broker" ] || kill "$broker" 2>/dev/null || true
  [ -z "$broker" ] || wait "$broker" 2>/dev/null || true
  rm -rf "$dir"
  exit "${1:-0}"
}
trap 'stop $?' EXIT
trap 'stop 0' INT TERM

controller=$((port + 1))
cat >"$dir/log4j2.properties" <<PROPERTIES
appender.file.type=File
appender.file.name=file
appender.file.fileName=$dir/broker.log
appender.file.layout.type=PatternLayout
rootLogger.level=WARN
rootLogger.appenderRef.file.ref=file
PROPERTIES
cat >"$dir/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:$controller
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$dir/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
PROPERTIES
run() { java -Xmx512m "-Dlog4j2.configurationFile=$dir/log4j2.properties" -cp "$libs/*" "$@"; }

run kafka.tools.StorageTool format --standalone -t "$(run kafka.tools.StorageTool random-uuid)" \
  -c "$dir/server.properties" >/dev/null
java -Xmx512m "-Dlog4j2.configurationFile=$dir/log4j2.properties" -cp "$libs/*" kafka.Kafka "$dir/server.properties" \
  >"$dir/broker.out" 2>&1 &
broker=$!
until run org.apache.kafka.tools.TopicCommand --bootstrap-server "127.0.0.1:$port" --create --if-not-exists \
  --topic "$topic" --partitions "$partitions" >"$dir/topic.out" 2>&1; do
  kill -0 "$broker" 2>/dev/null || { cat "$dir/broker.log" "$dir/broker.out" >&2; exit 1; }
  sleep 1
done
echo "ready: 127.0.0.1:$port with topic $topic ($partitions partitions); Ctrl-C stops it and removes its data"
wait "$broker"
