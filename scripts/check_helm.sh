#!/usr/bin/env bash
# Checks the charts and the plain manifests, offline once `scripts/setup.sh charts` has run. No cluster is needed.
#
#   OUTBOXD_BIN   the outboxd that must accept every rendered configuration (default: target/debug/outboxd)
#   HELM          another Helm than target/tools/helm
set -euo pipefail
cd "$(dirname "$0")/.."

HELM=${HELM:-$PWD/target/tools/helm}
python=target/tools/venv/bin/python
export HELM
export OUTBOXD_BIN=${OUTBOXD_BIN:-$PWD/target/debug/outboxd}
# Helm keeps nothing in the home folder and reads nothing from there.
export HELM_CACHE_HOME=$PWD/target/tools/cache HELM_CONFIG_HOME=$PWD/target/tools/config HELM_DATA_HOME=$PWD/target/tools/data
export PYTHONDONTWRITEBYTECODE=1

fail() {
  printf 'check_helm: %s\n' "$1" >&2
  exit 1
}

# step NAME COMMAND...: one line if it succeeds, its whole output if not.
step() {
  local name=$1 log
  shift
  log=$(mktemp)
  if "$@" >"$log" 2>&1; then
    printf '  ok      %s\n' "$name"
    rm -f "$log"
  else
    cat "$log" >&2
    rm -f "$log"
    fail "$name failed; see above."
  fi
}

[ -x "$HELM" ] || fail "$HELM is not there; run scripts/setup.sh charts."
[ -x "$python" ] || fail "$python is not there; run scripts/setup.sh charts."
[ -x "$OUTBOXD_BIN" ] || fail "$OUTBOXD_BIN is not there; run cargo build, or set OUTBOXD_BIN to an outboxd."

# A dependency is built into a copy, so that the sources stay as they are.
charts=target/helm
rm -rf "$charts"
cp -r helm "$charts"
step "dependencies of the example" "$HELM" dependency build "$charts/examples/sidecar-app"

step "README and schema say what values.yaml says" "$python" scripts/helm_readme.py --check helm/outboxd helm/outboxd-sidecar
for values in helm/outboxd/ci/*-values.yaml; do
  step "lint outboxd with $(basename "$values")" "$HELM" lint --strict "$charts/outboxd" --values "$values"
done
step "lint outboxd-sidecar" "$HELM" lint --strict "$charts/outboxd-sidecar"
step "lint sidecar-app" "$HELM" lint --strict "$charts/examples/sidecar-app"
if [ -x target/tools/helm4-venv/bin/python ]; then
  step "Helm 4 accepts every example" target/tools/helm4-venv/bin/python scripts/check_helm4.py "$charts"
else
  printf '  skipped Helm 4 is not there: its package needs Python 3.12 or later (scripts/setup.sh charts)\n'
fi
for chart in outboxd outboxd-sidecar; do
  step "package $chart" "$HELM" package "$charts/$chart" --destination "$charts/packages"
done
"$python" scripts/check_helm.py "$charts" "$@"

if command -v promtool >/dev/null 2>&1; then
  step "promtool accepts the alerts" promtool check rules helm/outboxd/files/rules.yaml
else
  printf '  skipped promtool is not installed, the expressions of the alerts are not parsed (apt-get install prometheus)\n'
fi
