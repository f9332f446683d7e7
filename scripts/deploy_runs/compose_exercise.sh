#!/usr/bin/env bash
# Follows the quickstart of deploy/README.md with compose.py in Docker's place: the same commands, environments, health
# checks and order, a real Celery worker, deploy/demo.sh word for word, and Prometheus with the file's own configuration
# and rules. Grafana is not there. Runs as root in the machine that machine.sh boots; ends with "all held".
# shellcheck disable=SC2317  # functions are called through holds
# shellcheck disable=SC2016  # $ is for the inner shell
set -uo pipefail
export PATH=/run/docker:$PATH:$OUTBOXD_PG_BIN
cd /repository || exit 1

# What is shown when a sentence does not hold.
evidence() {
  journalctl --no-pager -o cat | tail -n 60
}
# shellcheck source=scripts/deploy_runs/sentences.sh
. /repository/scripts/deploy_runs/sentences.sh

# The images' accounts: systemd starts nothing as a number alone.
for account in 65501 65502 65503 65532; do
  echo "image$account:x:$account:65534::/:/usr/sbin/nologin" >>/etc/passwd
done
echo "images:x:65534:" >>/etc/group
mkdir /run/docker
printf '#!/bin/sh\nexec /usr/bin/python3 /repository/scripts/deploy_runs/compose.py "$@"\n' >/run/docker/docker
chmod 755 /run/docker/docker
install -m 755 /shared/outboxd /usr/bin/outboxd

status() { curl -sf localhost:14187/api/v1/status; }
prometheus_sees_it() {
  within 20 bash -c 'curl -s "localhost:9090/api/v1/query?query=up" | grep -q "\"1\"\]"' &&
    within 20 bash -c 'curl -s "localhost:9090/api/v1/query?query=outboxd_build_info" | grep -q "\"1\"\]"'
}
# Every rule was evaluated on what the relay says, without an error, and no alert fires but that of the loss.
rules_are_evaluated() {
  within 20 bash -c 'curl -s localhost:9090/api/v1/rules | python3 -c "
import json, sys
rules = [r for g in json.load(sys.stdin)[\"data\"][\"groups\"] for r in g[\"rules\"]]
bad = [(r[\"name\"], r[\"health\"], r.get(\"lastError\")) for r in rules if r[\"health\"] != \"ok\"]
print(len(rules), bad)
sys.exit(bool(bad) or not rules)"'
}
metrics_are_clean() { curl -s localhost:14187/metrics | promtool check metrics; }

compose=(docker compose -f deploy/compose.yaml)
holds "the quickstart comes up, in order, every service healthy" "${compose[@]}" up -d --build --wait
holds "the relay says how it is" status
holds "demo.sh: what a killed Redis held comes back, and every order has its receipt" deploy/demo.sh 60
if [ -x /usr/bin/prometheus ]; then
  holds "the profile observability comes up" "${compose[@]}" --profile observability up -d --wait
  holds "Prometheus scrapes the relay" prometheus_sees_it
  holds "every alert can be evaluated on what the relay says" rules_are_evaluated
  holds "promtool finds nothing wrong with /metrics" metrics_are_clean
fi
holds "it goes down" "${compose[@]}" --profile observability down --volumes
echo "all held"
