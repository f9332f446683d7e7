#!/usr/bin/env bash
# Sentences that must hold, for the exercises beside it. They say in `evidence` what is worth seeing if one does not.

# holds SENTENCE COMMAND...: says it if the command succeeds, else what it said, and ends the exercise.
holds() {
  local sentence=$1 said
  shift
  if said=$("$@" 2>&1); then
    printf 'held: %s\n' "$sentence"
  else
    printf 'DID NOT HOLD: %s\n%s\n' "$sentence" "$said"
    evidence
    exit 1
  fi
}

# within SECONDS COMMAND...: until it succeeds.
within() {
  local end=$((SECONDS + $1)) said
  shift
  until said=$("$@" 2>&1); do
    [ "$SECONDS" -lt "$end" ] || { echo "not within the time: $*: $said" && return 1; }
    sleep 0.05 # between two looks
  done
}
