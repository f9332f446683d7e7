#!/usr/bin/env bash
# Kills a Redis that keeps nothing on disk while tasks stand in it, and watches them come back.
#
#   docker compose -f deploy/compose.yaml up -d --build --wait
#   deploy/demo.sh [ORDERS]        300 orders unless told otherwise
#
# It ends with 0 if every committed order got its receipt, and with 1 if one did not within two minutes.
set -euo pipefail
cd "$(dirname "$0")"

orders=${1:-300}
compose() { docker compose -f compose.yaml "$@"; }
say() { printf '\n== %s\n' "$*"; }
fail() {
  printf 'demo: %s\n' "$*" >&2
  exit 1
}
books() { compose exec -T app python shop.py books "$@"; }
messages() { compose exec -T redis redis-cli llen default | tr -d '\r'; }
number() { sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p"; }

[[ $orders =~ ^[1-9][0-9]*$ ]] || fail "ORDERS is '$orders'; say how many, for instance deploy/demo.sh 300"
command -v docker >/dev/null || fail "docker was not found; install Docker with its compose plugin, then run this again"
compose exec -T app python shop.py health ||
  fail "the quickstart does not run; start it: docker compose -f deploy/compose.yaml up -d --build --wait"

say "The worker is stopped, and $orders orders are committed: their tasks now stand in Redis and nowhere else at work."
compose stop worker
compose exec -T app python shop.py orders "$orders"
compose exec -T relay /usr/bin/outboxd wait --drained --timeout 60s
newest=$(books | number newest)
before=$(messages)
echo "messages in Redis: $before"
[ "$before" -gt 0 ] || fail "Redis holds no message of the queue 'default'; see: docker compose -f deploy/compose.yaml logs relay"

say "Redis is killed. It has no snapshot and no append-only file."
compose kill redis
say "The shop goes on committing orders meanwhile."
compose exec -T app python shop.py orders 10
books

say "Redis starts again, empty."
compose up -d --no-deps --wait redis
echo "messages in Redis: $(messages)"

say "The relay notices, waits 2 s for workers' leftovers, and puts back what was lost."
for _ in $(seq 60); do
  after=$(messages)
  [ "$after" -lt "$before" ] || break
  sleep 1
done
echo "messages in Redis: $after"
compose exec -T relay /usr/bin/outboxd incident list

say "The worker is started again. Orders of before the kill that wait for their receipt:"
compose up -d --no-deps worker
for _ in $(seq 120); do
  now=$(books "$newest")
  waiting=$(number waiting <<<"$now")
  printf '%s ' "$waiting"
  if [ "$waiting" -eq 0 ]; then
    printf '\n\n%s\n' "$now"
    echo "Every order that was in the killed Redis has its receipt, each one once."
    exit 0
  fi
  sleep 1
done
printf '\n'
fail "$waiting orders have no receipt after two minutes; see: docker compose -f deploy/compose.yaml logs relay worker"
