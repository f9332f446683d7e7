//! What counts as consumed, what a loss brings again, and what operators can do about either.

mod clones;
mod consumers;
#[cfg(feature = "failpoints")]
mod dead;
mod dead_command;
mod dead_races;
mod killed;
mod once;
mod receipts;
mod repair;
mod replays;
mod retention;
mod rules;
mod stage;
mod statements;
mod watched;
mod writers;
