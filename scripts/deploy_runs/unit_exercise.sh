#!/usr/bin/env bash
# Installs the unit as deploy/systemd/README.md says, and holds it to what that page promises. Runs as root in the
# machine that machine.sh boots, with PostgreSQL and Redis beside it, and ends with "all held" or with the first that
# did not.
# shellcheck disable=SC2317  # functions are called through holds
# shellcheck disable=SC2016  # $ is for the inner shell
set -uo pipefail
export PATH=$PATH:$OUTBOXD_PG_BIN
cd /repository || exit 1

export status=http://127.0.0.1:14187
admin() { psql -h /run/postgresql -U postgres -d app -qAtX -v ON_ERROR_STOP=1 -c "$1"; }
property() { systemctl show outboxd --property "$1" --value; }
main() { property MainPID; }
metric() { curl -s "$status/metrics" | sed -n "s/^$1 //p"; }

# What is shown when a sentence does not hold.
evidence() {
  systemctl status --no-pager --full outboxd
  journalctl --no-pager -o cat | tail -n 40
}
# shellcheck source=scripts/deploy_runs/sentences.sh
. /repository/scripts/deploy_runs/sentences.sh

# block FILE HEADING LANGUAGE: what stands in that language's fences below that heading.
block() {
  awk -v head="## $2" -v fence='```'"$3" '
    /^## / { on = $0 == head } /^```/ { if (in_it) in_it = 0; else if (on && $0 == fence) { in_it = 1; next } }
    in_it { print; found = 1 } END { exit !found }' "$1" || { echo "$1 has no $3 below $2" >&2; return 1; }
}

# The page's commands, word for word but for sudo, and with somebody who types the two URLs.
install_as_the_page_says() {
  sudo() {
    case "$*" in
      *database_url*) echo "postgres://outboxd:change-me@db/app?sslmode=disable" | "$@" ;;
      *redis_url*) echo "redis://outboxd:change-me@broker:6379/1" | "$@" ;;
      *) "$@" ;;
    esac
  }
  block deploy/systemd/README.md Install sh >/run/install.sh || return 1
  (
    cd /run/here || exit 1
    set -e
    # shellcheck disable=SC1091
    . /run/install.sh
  )
}

servers_are_there() {
  within 60 pg_isready -q -h /run/postgresql -U postgres && within 30 redis-cli ping >/dev/null
}

# The page's commands, with a password for the owner.
schema_and_role() {
  admin "create role deployer login createrole password 'd'; grant create on database app to deployer; grant create on schema public to deployer" || return 1
  block docs/install.md "The database" sh | sed 's/deployer@/deployer:d@/' >/run/migrate.sh &&
    PATH=/run/here:$PATH bash -e /run/migrate.sh && admin "$(block docs/install.md "The database" sql)"
}

redis_user() {
  [ "$(block docs/install.md Redis "" | redis-cli)" = OK ]
}

# What KEDA asks by default (helm/outboxd/templates/scaledobject.yaml).
keda_gets_an_age() {
  psql postgres://outboxd:change-me@db/app -qAtX \
    -c 'SELECT coalesce(max(oldest_ms), 0) / 1000 FROM "outboxd".outbox_gauge()' |
    grep -qx '[0-9.]*'
}

it_is_nobody() {
  local pid
  pid=$(main)
  [ "$(stat -c %U "/proc/$pid")" = outboxd ] || { stat "/proc/$pid"; return 1; }
  grep -E '^(CapEff|CapPrm|CapBnd):.*[1-9a-f]' "/proc/$pid/status" && return 1
  grep -q '^NoNewPrivs:.1$' "/proc/$pid/status" && grep -q '^Seccomp:.2$' "/proc/$pid/status"
}

secrets_are_its_own() {
  local pid
  pid=$(main)
  ! tr '\0' '\n' <"/proc/$pid/environ" | grep -E 'change-me|redis://'
}

writes_nowhere() {
  local pid place
  pid=$(main)
  for place in / /etc /var/lib /usr/bin; do
    ! nsenter -t "$pid" -m touch "$place/written" 2>/dev/null || { echo "$place can be written to"; return 1; }
  done
}

a_row_reaches_redis() {
  local before
  before=$(redis-cli -n 1 llen celery)
  admin "select outbox_enqueue('celery', 'shop.task', '[1]')" >/dev/null &&
    within 30 bash -c "[ \$(redis-cli -n 1 llen celery) -gt $before ]"
}

reloads() {
  local pid before
  pid=$(main) before=$(metric outboxd_config_last_reload_timestamp_seconds)
  printf '\n[log]\nlevel = "debug"\n' >>/etc/outboxd/outboxd.toml
  systemctl reload outboxd || return 1
  export -f metric
  within 20 bash -c "[ \"\$(metric outboxd_config_last_reload_timestamp_seconds)\" != '$before' ]" &&
    [ "$(metric outboxd_config_last_reload_successful)" = 1 ] && [ "$(main)" = "$pid" ]
}

survives_a_bad_reload() {
  local pid
  pid=$(main)
  cp /etc/outboxd/outboxd.toml /run/good.toml
  printf '[nonsense]\nkey = 1\n' >>/etc/outboxd/outboxd.toml
  systemctl reload outboxd
  within 20 bash -c "curl -s $status/metrics | grep -q '^outboxd_config_last_reload_successful 0'" &&
    [ "$(main)" = "$pid" ]
}

# 78: only an operator can mend it.
stays_down_with_a_bad_file() {
  ! systemctl restart outboxd || return 1
  [ "$(property ExecMainStatus) $(property NRestarts) $(property ActiveState)" = "78 0 failed" ] || return 1
  cp /run/good.toml /etc/outboxd/outboxd.toml
  systemctl restart outboxd
}

takes_a_changed_password() {
  admin "alter role outboxd password 'second'" || return 1
  echo "postgres://outboxd:second@db/app?sslmode=disable" >/etc/outboxd/credentials/database_url
  systemctl restart outboxd && curl -sf "$status/readyz"
}

lacks_a_credential() {
  mv /etc/outboxd/credentials/redis_url /run/redis_url
  ! systemctl restart outboxd || return 1
  [ "$(property ExecMainStatus)" = 243 ] || { echo "the status is $(property ExecMainStatus)"; return 1; }
  mv /run/redis_url /etc/outboxd/credentials/redis_url
  systemctl restart outboxd
}

# The unit waits 30 s, and so long nobody looks on here.
is_replaced_if_it_hangs() {
  local pid quick=/etc/systemd/system/outboxd.service.d/quick.conf
  mkdir -p "${quick%/*}"
  printf '[Service]\nWatchdogSec=3s\nRestartSec=100ms\n' >"$quick"
  systemctl daemon-reload && systemctl restart outboxd || return 1
  pid=$(main)
  kill -STOP "$pid"
  within 30 bash -c "[ \"\$(systemctl show outboxd --property NRestarts --value)\" -ge 1 ]" &&
    within 30 systemctl --quiet is-active outboxd && [ "$(main)" != "$pid" ] || return 1
  rm "$quick" && systemctl daemon-reload
}

waits_for_postgres() {
  systemctl stop outboxd postgresql && systemctl start --no-block outboxd || return 1
  within 20 bash -c '[ "$(systemctl show outboxd --property ActiveState --value)" = activating ]' || return 1
  systemctl start postgresql && within 60 systemctl --quiet is-active outboxd
}

stops_at_once() {
  local begun=$SECONDS
  systemctl stop outboxd && [ "$(property Result) $(property ExecMainStatus)" = "success 0" ] &&
    [ $((SECONDS - begun)) -le 5 ]
}

mkdir /run/here
cp -r /repository/deploy /run/here/
install -m 755 /shared/outboxd /run/here/outboxd

holds "PostgreSQL and Redis run beside it" servers_are_there
holds "an owner migrates, and the relay gets a role, as docs/install.md says" schema_and_role
holds "Redis takes the user of docs/install.md" redis_user
holds "the page's commands install it, and it says that it is ready" install_as_the_page_says
holds "/readyz says so too" curl -sf "$status/readyz"
credentials=/etc/outboxd/credentials
holds "doctor finds nothing with the unit's configuration" env OUTBOXD_DATABASE__URL_FILE=$credentials/database_url \
  OUTBOXD_REDIS__DEFAULT__URL_FILE=$credentials/redis_url outboxd doctor
holds "KEDA's question is answered to the relay's role" keda_gets_an_age
holds "it runs as outboxd, without capabilities, behind seccomp" it_is_nobody
holds "no password stands in its environment" secrets_are_its_own
holds "it can write nowhere" writes_nowhere
holds "a committed row reaches Redis" a_row_reaches_redis
holds "reload takes up the file, in the same process" reloads
holds "reload of a wrong file is refused, and changes nothing" survives_a_bad_reload
holds "a start with a wrong file ends with 78, and is not tried again" stays_down_with_a_bad_file
holds "a restart takes up a changed password" takes_a_changed_password
holds "without a credential it ends with 243" lacks_a_credential
holds "while PostgreSQL is away it is activating, then active" waits_for_postgres
holds "the watchdog replaces a relay that hangs" is_replaced_if_it_hangs
holds "stop ends it with success, and soon" stops_at_once
echo "all held"
