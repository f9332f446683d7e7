#!/usr/bin/env bash
# Runs the assembled image under crun as `docker run --read-only --cap-drop ALL --security-opt no-new-privileges` would,
# and holds it to what deploy/README.md promises. Runs as root in the machine that machine.sh boots, and ends with
# "all held" or with the first that did not.
# shellcheck disable=SC2317  # functions are called through holds
# shellcheck disable=SC2016  # $ is for the inner shell
set -uo pipefail
export PATH=$PATH:$OUTBOXD_PG_BIN
cd /shared || exit 1

status=http://127.0.0.1:14187
admin() { psql -h /run/postgresql -U postgres -d app -qAtX -v ON_ERROR_STOP=1 -c "$1"; }
of_image() { python3 -c "import json; c = json.load(open('image.json'))['Docker']['config']; print($1)"; }
engine() { crun --cgroup-manager=disabled "$@"; }

# What is shown when a sentence does not hold.
evidence() {
  tail -n 20 /run/*.out
}
# shellcheck source=scripts/deploy_runs/sentences.sh
. /repository/scripts/deploy_runs/sentences.sh

# bundle NAME ARGUMENTS-AS-JSON-OR-null VARIABLE=VALUE...
bundle() { python3 /repository/scripts/deploy_runs/bundle.py image "$@"; }

# once NAME ARGUMENTS-AS-JSON VARIABLE=VALUE...: runs it to its end.
once() {
  bundle "$@" && engine run --bundle "/run/$1" "$1" 2>&1 | tee "/run/$1.out"
  return "${PIPESTATUS[0]}"
}

started() {
  bundle relay null "${urls[@]}" &&
    engine run --detach --bundle /run/relay --pid-file /run/relay.pid relay >/run/relay.out 2>&1 </dev/null &&
    within 30 healthy
}

# As an engine runs a health check: as the container's user.
healthy() { engine exec --user 65532:65532 relay "${health[@]}"; }

servers_are_there() {
  within 60 pg_isready -q -h /run/postgresql -U postgres && within 30 redis-cli ping >/dev/null &&
    admin "create role outboxd login createrole password 'first'; grant create on database app to outboxd; grant create on schema public to outboxd"
}

says_what_it_is() {
  local labels="c['Labels']['org.opencontainers.image.' + key] for key in ('version', 'revision', 'licenses')"
  of_image "c['StopSignal'], *($labels)" |
    tee /run/said.out | grep -qx 'SIGTERM 9.9.9 checked MIT OR Apache-2.0' &&
    of_image "c['Labels']['org.opencontainers.image.base.name']" | grep -q . &&
    [ -f bundle/rootfs/usr/share/doc/outboxd/LICENSE-MIT ] && [ ! -e bundle/rootfs/bin/sh ]
}

it_is_nobody() {
  local pid
  pid=$(cat /run/relay.pid)
  [ "$(stat -c %u:%g "/proc/$pid")" = 65532:65532 ] || { stat "/proc/$pid"; return 1; }
  grep -E '^(CapEff|CapPrm|CapBnd):.*[1-9a-f]' "/proc/$pid/status" && return 1
  grep -q '^NoNewPrivs:.1$' "/proc/$pid/status"
}

a_row_reaches_redis() {
  admin "select outbox_enqueue('default', 'shop.task', '[1]')" >/dev/null &&
    within 30 bash -c '[ "$(redis-cli -n 1 llen default)" = 1 ]'
}

takes_a_changed_password() {
  admin "alter role outboxd password 'second'" || return 1
  printf 'postgres://outboxd:second@db/app?sslmode=disable\n' >/run/secrets/database_url
  engine kill relay HUP || return 1
  admin "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'outboxd'" >/dev/null
  admin "select outbox_enqueue('default', 'shop.task', '[2]')" >/dev/null &&
    within 30 bash -c '[ "$(redis-cli -n 1 llen default)" = 2 ]' && healthy
}

stays_ready_without_redis() {
  systemctl stop redis-server || return 1
  within 30 bash -c "curl -s $status/metrics | grep -q '^outboxd_redis_up{.*} 0'" &&
    healthy && systemctl start redis-server
}

# What a classic sidecar does before it stops (helm/outboxd-sidecar, classic.preStop: drain).
hook_drains() {
  engine exec --user 65532:65532 relay /usr/bin/outboxd wait --drained --timeout 20s
}

# poolSize of the sidecar, and one for LISTEN.
is_modest() {
  [ "$(admin "select count(*) from pg_stat_activity where usename = 'outboxd'")" -le 3 ]
}

stops_at_once() {
  local begun=$SECONDS
  engine kill relay TERM || return 1
  within 10 bash -c '! kill -0 "$(cat /run/relay.pid)" 2>/dev/null' && [ $((SECONDS - begun)) -le 5 ]
}

# As kubelet would start it: arguments, environment, files, user and group are the chart's. Redis has come back empty
# meanwhile, so what was in it comes back too.
runs_as_the_chart_says() {
  printf 'postgres://outboxd:second@db/app?sslmode=disable' >/run/secrets/database
  printf 'redis://broker:6379/1' >/run/secrets/redis
  chmod 600 /run/secrets/database /run/secrets/redis
  python3 /repository/scripts/deploy_runs/bundle.py pod pod &&
    engine run --detach --bundle /run/pod --pid-file /run/pod.pid pod >/run/pod.out 2>&1 </dev/null &&
    within 30 curl -sf http://127.0.0.2:14187/readyz && curl -sf http://127.0.0.2:14187/livez || return 1
  admin "select outbox_enqueue('default', 'shop.task', '[3]')" >/dev/null &&
    within 30 bash -c '[ "$(redis-cli -n 1 llen default)" = 3 ]' && grep -q '"event"' /run/pod.out && engine kill pod TERM
}

refuses_without_urls() {
  once bare null
  [ $? = 78 ]
}

mapfile -t health < <(of_image "'\n'.join(c['Healthcheck']['Test'][1:])")
url="postgres://outboxd:first@db/app?sslmode=disable"
urls=(OUTBOXD_DATABASE__URL_FILE=/run/secrets/database_url REDIS_URL=redis://broker:6379/1 OUTBOXD_DATABASE__POOL_SIZE=2)
mkdir /run/secrets
printf '%s\n' "$url" >/run/secrets/database_url
chown 65532 /run/secrets/database_url && chmod 400 /run/secrets/database_url

holds "PostgreSQL and Redis run beside it" servers_are_there
holds "the image says what it is, and has no shell" says_what_it_is
holds "\`migrate up\` in it brings the schema" once migrate '["migrate", "up"]' "DATABASE_URL=$url"
holds "its command relays, and its health check says so" started
holds "it runs as 65532, without capabilities, on a read-only file system without /tmp" it_is_nobody
holds "\`doctor\` in it finds nothing" once doctor '["doctor"]' "${urls[@]}"
holds "it answers on every address, not on loopback's first alone" curl -sf http://127.0.0.2:14187/readyz
holds "a committed row reaches Redis" a_row_reaches_redis
holds "SIGHUP takes up a changed password, without a restart" takes_a_changed_password
holds "without Redis it stays healthy" stays_ready_without_redis
holds "it holds two connections and one for LISTEN, if told so" is_modest
holds "a classic sidecar's hook waits until all is dispatched" hook_drains
holds "SIGTERM ends it, and soon" stops_at_once
if [ -e pod.json ]; then
  holds "with the chart's arguments, files, user and group it relays, and answers kubelet" runs_as_the_chart_says
fi
holds "without URLs it ends with 78" refuses_without_urls
echo "all held"
