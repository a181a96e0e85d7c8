# Sourced by .ci/integration: start_kafka DIR starts one Apache Kafka broker
# (KRaft, broker and controller in one process) on free ports of 127.0.0.1 and
# sets kafka_pid and kafka_address once it answers.

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

start_kafka() {
  local dir=$1 here port control
  here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
  port=$(free_port)
  control=$(free_port)
  mkdir -p "$dir/jars" "$dir/log"
  echo "fetching the broker's jars"
  mvn -B -q -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$dir/jars" || return 1
  cat >"$dir/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$control
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:$control
log.dirs=$dir/log
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
PROPERTIES
  java -cp "$dir/jars/*" kafka.tools.StorageTool format -t "$(head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | tr -d '=')" \
    -c "$dir/server.properties" >"$dir/format.out" 2>&1 || { cat "$dir/format.out"; return 1; }
  java -Xmx512m -cp "$dir/jars/*" kafka.Kafka "$dir/server.properties" >"$dir/broker.out" 2>&1 &
  kafka_pid=$!
  kafka_address=127.0.0.1:$port
  local n
  for n in $(seq 300); do
    if ! kill -0 "$kafka_pid" 2>/dev/null; then
      tail -n 20 "$dir/broker.out"
      return 1
    fi
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      return 0
    fi
    sleep 0.2
  done
  echo "the broker does not answer"
  return 1
}
