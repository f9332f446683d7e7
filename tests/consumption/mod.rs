//! What counts as consumed, what a loss brings again, and what operators can do about either.

mod clones;
mod consumers;
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
