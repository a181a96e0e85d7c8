# Sourced by .ci/integration: prepare_kafka DIR makes one Apache Kafka broker
# (KRaft, broker and controller in one process) ready on free ports of 127.0.0.1
# and sets kafka_command and kafka_address; start_kafka DIR starts it too and
# sets kafka_pid once it answers.

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

kafka_jars='' # fetched once
fetch_jars() {
  local here
  here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
  echo "fetching the broker's jars"
  mvn -B -q -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$1" && kafka_jars=$1
}

prepare_kafka() {
  local dir=$1 port control
  port=$(free_port)
  control=$(free_port)
  mkdir -p "$dir/log"
  [[ -n $kafka_jars ]] || fetch_jars "$dir/jars" || return 1
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
broker.session.timeout.ms=3000
PROPERTIES
  java -cp "$kafka_jars/*" kafka.tools.StorageTool format -t "$(head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | tr -d '=')" \
    -c "$dir/server.properties" >"$dir/format.out" 2>&1 || { cat "$dir/format.out"; return 1; }
  kafka_command=(java -Xmx512m -cp "$kafka_jars/*" kafka.Kafka "$dir/server.properties")
  kafka_address=127.0.0.1:$port
}

start_kafka() {
  local dir=$1 port n
  prepare_kafka "$dir" || return 1
  port=${kafka_address##*:}
  "${kafka_command[@]}" >"$dir/broker.out" 2>&1 &
  kafka_pid=$!
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
