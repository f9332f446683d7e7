#!/usr/bin/env bash
# Runs what deploy/ packages, for real, in a machine made of namespaces with PostgreSQL and Redis beside it.
# Takes some ten seconds, downloads nothing and leaves nothing behind. Says "skipped" and why where it cannot be done.
#
#   check_machine.sh unit      the unit under systemd, installed by the commands of deploy/systemd/README.md
#   check_machine.sh image     the image of deploy/Dockerfile's last stage under crun, as an engine would run it
#   check_machine.sh compose   the quickstart of deploy/README.md, with units of systemd in place of containers
#
#   OUTBOXD_BIN   the outboxd to run (default: target/debug/outboxd)
#   OUTBOXD_VENV  where scripts/setup.sh python put Celery, for compose (default: target/venv)
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:-}
binary=${OUTBOXD_BIN:-$PWD/target/debug/outboxd}
skip() {
  echo "skipped: $1"
  exit 0
}

case $what in
  unit | image | compose) ;;
  *) echo "usage: check_machine.sh unit | image | compose" >&2 && exit 2 ;;
esac
[ "$(id -u)" -eq 0 ] || skip "only root may make namespaces and mounts"
[ -x "$binary" ] || skip "$binary is not there; run cargo build, or set OUTBOXD_BIN"
for tool in /usr/lib/systemd/systemd /usr/bin/redis-server /usr/bin/redis-cli /usr/bin/psql /usr/bin/curl; do
  [ -x "$tool" ] || skip "$tool is not installed (scripts/setup.sh servers, scripts/setup.sh deploy)"
done
if [ "$what" = image ]; then
  for tool in /usr/bin/buildah /usr/bin/crun; do
    [ -x "$tool" ] || skip "$tool is not installed (scripts/setup.sh deploy)"
  done
fi
venv=${OUTBOXD_VENV:-$PWD/target/venv}
if [ "$what" = compose ]; then
  [ -x "$venv/bin/celery" ] || skip "$venv has no Celery (scripts/setup.sh python)"
  [ -x target/tools/deploy-venv/bin/python ] || skip "target/tools/deploy-venv is not there (scripts/setup.sh deploy)"
fi
postgres=$(compgen -G '/usr/lib/postgresql/*/bin/postgres' | sort -V | tail -n 1) ||
  skip "PostgreSQL is not below /usr/lib/postgresql"
groups=$(findmnt --noheadings --output TARGET --types cgroup2 | head -n 1)
[ -n "$groups" ] || skip "there is no cgroup2 file system"
group=$groups/outboxd-check-$$
mkdir "$group" 2>/dev/null || skip "$groups may not be written to"
shared=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo /tmp)/outboxd-check.XXXXXX")

finish() {
  rm -rf "$shared"
  # Emptied by the kernel a moment after the last process ended.
  for _ in $(seq 50); do
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
    sleep 0.1 # until those processes are gone
  done
}
trap finish EXIT

unshare --mount --pid --fork --uts --ipc --net --cgroup true 2>/dev/null || skip "this machine makes no namespaces"
mkdir "$shared/all" "$shared/upper" "$shared/work"
unshare --mount mount -t overlay -o "lowerdir=/usr,upperdir=$shared/upper,workdir=$shared/work" overlay "$shared/all" \
  2>/dev/null || skip "this machine mounts no overlay file system"
rm -rf "$shared/all" "$shared/upper" "$shared/work"

chmod 755 "$shared"
cp "$binary" "$shared/outboxd"
sed "s#\$OUTBOXD_PG_BIN#$(dirname "$postgres")#" "scripts/deploy_runs/${what}_exercise.sh" >"$shared/exercise"
chmod 755 "$shared/exercise"
if [ "$what" = image ]; then
  scripts/deploy_runs/assemble.sh "$shared" >"$shared/log" 2>&1 || {
    cat "$shared/log"
    exit 1
  }
  # What the chart makes of it, where Helm is (scripts/setup.sh charts).
  helm=${HELM:-target/tools/helm}
  if [ -x "$helm" ] && [ -x target/tools/venv/bin/python ]; then
    "$helm" template relay helm/outboxd --set secretsAsFiles=true --set config.defaults.window=20000 \
      --set database.existingSecret.name=urls,database.existingSecret.key=database \
      --set redis.existingSecret.name=urls,redis.existingSecret.key=redis >"$shared/pod.yaml"
    target/tools/venv/bin/python -c '
import json, sys, yaml
print(json.dumps([item for item in yaml.safe_load_all(sys.stdin) if item]))' <"$shared/pod.yaml" >"$shared/pod.json"
  fi
fi

mkdir -p "$shared/units/exercise.service.d"
if [ "$what" = compose ]; then
  target/tools/deploy-venv/bin/python - deploy/compose.yaml >"$shared/compose.json" <<'PYTHON'
import json, sys
from ruamel.yaml import YAML
json.dump(YAML(typ="safe").load(open(sys.argv[1])), sys.stdout)
PYTHON
  printf '{"python": "%s", "celery": "%s"}\n' "$venv/bin/python" "$venv/bin/celery" >"$shared/places.json"
  # The environment, and the Python that it was made of.
  { echo "$venv" && "$venv/bin/python" -c 'import sys; print(sys.base_prefix)'; } | grep -v '^/usr$' >"$shared/folders"
  cat >"$shared/postgres" <<SCRIPT
#!/bin/sh
# What the image's entry point does at the first start.
data=/var/lib/postgresql/data bin=$(dirname "$postgres")
if [ ! -e \$data/PG_VERSION ]; then
  echo "\$POSTGRES_PASSWORD" >/tmp/password
  \$bin/initdb -U "\$POSTGRES_USER" -A scram-sha-256 --pwfile /tmp/password -N -D \$data
  echo "create database \$POSTGRES_DB" | \$bin/postgres --single -D \$data postgres
fi
exec \$bin/postgres -D \$data -k /tmp -c listen_addresses=* -c fsync=off
SCRIPT
  chmod 755 "$shared/postgres"
fi
[ "$what" = compose ] || cat >"$shared/units/exercise.service.d/servers.conf" <<'UNIT'
[Unit]
Wants=postgresql.service redis-server.service
UNIT
cat >"$shared/initdb" <<SCRIPT
#!/bin/sh
# An empty database app; passwords are asked for over TCP.
[ ! -e /var/lib/postgresql/data ] || exit 0
cd /var/lib/postgresql
$(dirname "$postgres")/initdb -U postgres -A scram-sha-256 --auth-local trust --pwfile /etc/hostname -N -D data
echo 'create database app' | $postgres --single -D data postgres
SCRIPT
chmod 755 "$shared/initdb"
cat >"$shared/units/postgresql.service" <<UNIT
[Service]
Type=notify
DynamicUser=yes
StateDirectory=postgresql
RuntimeDirectory=postgresql
ExecStartPre=/shared/initdb
ExecStart=$postgres -D /var/lib/postgresql/data -k /run/postgresql -c fsync=off
KillSignal=SIGINT
UNIT
cat >"$shared/units/redis-server.service" <<'UNIT'
[Service]
DynamicUser=yes
ExecStart=/usr/bin/redis-server --save "" --appendonly no --maxmemory 64mb --maxmemory-policy noeviction
UNIT

code=0
timeout --signal KILL 400 scripts/deploy_runs/machine.sh "$group" "$shared" >"$shared/log" 2>&1 || code=$?
if grep -q '^all held$' "$shared/output" 2>/dev/null; then
  grep '^held: ' "$shared/output"
else
  echo "check_machine: the machine ended with $code; what it said:"
  cat "$shared/log" "$shared/console" "$shared/output" 2>/dev/null
  exit 1
fi
