#!/usr/bin/env bash
# Plays the core of the suite on one version of PostgreSQL and Redis after the other, and prints a table. It exits with 1 if
# a test failed, or if nothing could be played. scripts/setup.sh versions installs the servers; Redis 7.0 is the installed one.
#
#   scripts/versions.sh                     every PostgreSQL with Redis 7.0, every Redis and Valkey with PostgreSQL 17, and both ends
#   VERSIONS="redis-6.2" scripts/versions.sh        the combinations whose names contain all of these words
#   VERSIONS="postgres-14 redis-7" CORE="faults::redis_loss demo::" scripts/versions.sh      other tests than the core
#   SKIP="broker::observe" scripts/versions.sh      leaves out other tests than the usual ones
#   THREADS=2 scripts/versions.sh           how many tests at once; 4 unless said otherwise
#
# The table is also in target/versions/table.md, what each combination said in target/versions/*.log.
set -euo pipefail
cd "$(dirname "$0")/.."

# What depends on a server: what producers write, the reader's SQL, the scripts in Redis, its losses, what consumers leave, and
# the demo. Not the models and the reader's cost, which ask no other server than the first, nor what needs a Redis with TLS.
core="producers:: reader:: protocol:: segments:: broker:: faults:: consumption:: demo::"
left_out="broker::model broker::tls reader::property reader::cost model::"
read -r -a tests <<<"${CORE:-$core}"
read -r -a without <<<"${SKIP-$left_out}"

installed='redis-7.0'
usual_postgres='postgres-17'
pairs=(
  "postgres-14 redis-6.2" "postgres-18 redis-8"
  "postgres-14 $installed" "postgres-15 $installed" "postgres-16 $installed" "postgres-17 $installed" "postgres-18 $installed"
  "$usual_postgres redis-6.2" "$usual_postgres redis-8" "$usual_postgres valkey-8" "$usual_postgres valkey-9"
)
servers=$PWD/target/tools/versions
results=$PWD/target/versions
mkdir -p "$results"

# folder NAME: the folder of a server by the beginning of its name; nothing if it is not there.
folder() { compgen -G "$servers/$1[.-]*/bin" | head -n 1 || true; }

# number PROGRAM: the version that it says it has.
number() { "$1" --version | grep -oE '(v=| )[0-9]+\.[0-9.]+' | head -n 1 | tr -d 'v= '; }

# Builds once; every combination runs the same program.
build() {
  if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --locked --features failpoints --test suite --no-run --cargo-quiet
  else
    cargo test --locked --features failpoints --test suite --no-run --quiet
  fi
}

play() {
  local skips=()
  for name in "${without[@]}"; do skips+=(--skip "$name"); done
  if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --locked --features failpoints --test suite --no-fail-fast --test-threads "${THREADS:-4}" \
      -- "${tests[@]}" "${skips[@]}"
  else
    cargo test --locked --features failpoints --test suite --no-fail-fast -- --test-threads "${THREADS:-4}" \
      "${tests[@]}" "${skips[@]}"
  fi
}

# The tests make thousands of small files; see scripts/suite.sh.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ]; then export TMPDIR=/dev/shm; fi

build
table=$results/table.md
{
  printf 'Played on %s: %s, without %s.\n\n' "$(date -u +%Y-%m-%d)" "${tests[*]}" "${without[*]}"
  printf '| PostgreSQL | Redis | passed | failed | time |\n|---|---|---|---|---|\n'
} >"$table"
played=0
bad=0
for pair in "${pairs[@]}"; do
  for word in ${VERSIONS:-}; do
    case $pair in *"$word"*) ;; *) continue 2 ;; esac
  done
  read -r postgres redis <<<"$pair"
  postgres_bin=$(folder "$postgres")
  redis_bin=$(folder "$redis")
  if [ -z "$redis_bin" ] && [ "$redis" = "$installed" ]; then
    redis_bin=$(dirname "$(PATH=$PATH:/usr/sbin:/sbin command -v redis-server || echo /none/redis-server)")
    case $("$redis_bin/redis-server" --version 2>/dev/null) in *"v=${installed#*-}."*) ;; *) redis_bin= ;; esac
  fi
  if [ -z "$postgres_bin" ] || [ -z "$redis_bin" ]; then
    missing=$([ -n "$postgres_bin" ] || printf '%s ' "$postgres"; [ -n "$redis_bin" ] || printf '%s' "$redis")
    printf '== %s: not available here: %s\n' "$pair" "$missing"
    printf '| %s | %s | not available here: %s | | |\n' "${postgres#*-}" "$redis" "$missing" >>"$table"
    continue
  fi
  versions="PostgreSQL $(number "$postgres_bin/postgres"), ${redis%%-*} $(number "$redis_bin/redis-server")"
  log="$results/${postgres}_$redis.log"
  begun=$SECONDS
  code=0
  path=$PATH
  # The installed one is found anyway, and its folder may hold another cargo.
  case $redis_bin in "$servers"/*) path=$redis_bin:$PATH ;; esac
  PATH=$path OUTBOXD_PG_BIN=$postgres_bin play >"$log" 2>&1 || code=$?
  took=$((SECONDS - begun))
  # Of nextest: "Summary [ 12s] 40 tests run: 39 passed (2 slow), 1 failed, 7 skipped"; of cargo test: "test result: ok. 39 passed; ..".
  summary=$(grep -E 'tests run:|^test result:' "$log" | tail -n 1 || true)
  passed=$(grep -oE '[0-9]+ passed' <<<"$summary" | grep -oE '[0-9]+' || echo 0)
  failed=$(grep -oE '[0-9]+ (failed|timed out)' <<<"$summary" | awk '{ sum += $1 } END { print sum + 0 }' || true)
  # A run without a summary did not end by itself.
  if [ "$code" -ne 0 ] && [ "$failed" -eq 0 ]; then failed="ended with $code"; fi
  printf '== %s: %s passed, %s failed in %d s\n' "$versions" "$passed" "$failed" "$took"
  printf '| %s | %s %s | %s | %s | %d s |\n' "$(number "$postgres_bin/postgres")" "${redis%%-*}" \
    "$(number "$redis_bin/redis-server")" "$passed" "$failed" "$took" >>"$table"
  played=$((played + 1))
  if [ "$code" -ne 0 ]; then
    bad=1
    grep -E '^ +(FAIL|TIMEOUT|SIG[A-Z]+) |^test .* FAILED$|^error' "$log" | sort -u | head -n 40 || tail -n 20 "$log"
  fi
done
echo
cat "$table"
if [ "$played" -eq 0 ]; then
  echo "versions: nothing was played: no combination has all of the words \"${VERSIONS:-}\", or none of the servers is here" >&2
  exit 1
fi
exit "$bad"
