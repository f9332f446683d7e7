#!/usr/bin/env bash
# Everything that can be said about deploy/ and the workflows without a container registry, a cluster or a network.
# `scripts/setup.sh deploy` installs the tools. One line per step; exit code 1 if any failed.
#
# OUTBOXD_METRICS_FILE=FILE   also checks this saved answer of GET /metrics
# OUTBOXD_BIN=FILE            the outboxd that is run (default: target/debug/outboxd)
# shellcheck disable=SC2317  # functions are called through step
set -euo pipefail
cd "$(dirname "$0")/.."

venv=target/tools/deploy-venv
# Of 100: the unit asks for so little that it stays below 2.0 of 10.
exposure=20
failed=0

# step NAME COMMAND [ARGUMENT...]: says ok, or why the command skipped it ("skipped: .."), or shows all that it said.
step() {
  local name=$1 output
  shift
  if output=$("$@" 2>&1); then
    case $output in
      skipped:*) printf '  %-24s %s\n' "$name" "$output" ;;
      *) printf '  %-24s ok\n' "$name" ;;
    esac
  else
    printf '  %-24s FAILED\n%s\n' "$name" "$output"
    failed=1
  fi
}

# quiet COMMAND [ARGUMENT...]: fails also if the command says anything on its standard error output.
quiet() {
  local errors
  errors=$("$@" 2>&1 >/dev/null) || { printf '%s\n' "$errors" && return 1; }
  [ -z "$errors" ] || { printf '%s\n' "$errors" && return 1; }
}

# The unit names a binary that this machine need not have: verified is a copy that names one that is there.
unit_copy() {
  sed "s#^ExecStart=/usr/bin/outboxd #ExecStart=$(command -v true) #" deploy/systemd/outboxd.service >"$folder/outboxd.service"
}

unit() {
  unit_copy && quiet systemd-analyze verify --man=no "$folder/outboxd.service"
}

security() {
  unit_copy && systemd-analyze security --offline=true --no-pager --threshold="$exposure" "$folder/outboxd.service"
}

sysusers() {
  # A user that is there already is not made again, and not mentioned.
  systemd-sysusers --dry-run "$PWD/deploy/systemd/outboxd.sysusers" 2>&1 | grep "Creating user 'outboxd'" ||
    getent passwd outboxd >/dev/null || {
    echo "deploy/systemd/outboxd.sysusers makes no user outboxd; its line must be: u outboxd - \"...\""
    return 1
  }
}

dashboard() {
  "$venv/bin/python" scripts/check_deploy.py expressions >"$folder/dashboard.yml" &&
    promtool check rules "$folder/dashboard.yml"
}

# Names in capitals come from the workflow's env.
workflow_scripts() {
  mkdir "$folder/scripts" && "$venv/bin/python" scripts/check_deploy.py scripts "$folder/scripts" &&
    shellcheck --exclude SC2154 "$folder"/scripts/*.sh
}

# A syntax check that leaves no files behind.
python_syntax() {
  "$venv/bin/python" -c 'import ast, sys; [ast.parse(open(name).read(), name) for name in sys.argv[1:]]' "$@"
}

metrics() {
  promtool check metrics <"$OUTBOXD_METRICS_FILE"
}

for tool in promtool systemd-analyze shellcheck "$venv/bin/hadolint" "$venv/bin/check-jsonschema" "$venv/bin/zizmor"; do
  command -v "$tool" >/dev/null || {
    echo "check_deploy: $tool is missing; run scripts/setup.sh deploy" >&2
    exit 1
  }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

step "Dockerfiles" "$venv/bin/hadolint" deploy/Dockerfile deploy/demo/Dockerfile
step "compose schema" "$venv/bin/check-jsonschema" --builtin-schema vendor.compose-spec deploy/compose.yaml
step "workflow schema" "$venv/bin/check-jsonschema" --builtin-schema vendor.github-workflows .github/workflows/*.yml
step "workflow security" "$venv/bin/zizmor" --offline --no-progress --quiet .github/workflows
step "workflow scripts" workflow_scripts
step "shell scripts" shellcheck deploy/demo.sh scripts/*.sh scripts/deploy_runs/*.sh
step "Python syntax" python_syntax deploy/demo/*.py scripts/*.py scripts/*/*.py
step "unit" unit
step "unit's exposure" security
step "sysusers" sysusers
step "Prometheus' config" promtool check config --syntax-only deploy/prometheus/prometheus.yml
step "alert rules" promtool check rules --lint-fatal deploy/prometheus/rules.yml
step "alert tests" promtool test rules deploy/prometheus/rules_test.yml
step "dashboard's queries" dashboard
if [ -n "${OUTBOXD_METRICS_FILE:-}" ]; then
  step "saved metrics" metrics
fi
step "unit under systemd" scripts/check_machine.sh unit
step "image under crun" scripts/check_machine.sh image
step "agreement" "$venv/bin/python" scripts/check_deploy.py

exit "$failed"
