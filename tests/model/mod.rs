//! Exhaustive models: every interleaving within stated bounds, where random tests have been shown not to be enough.
//!
//! `reader` is the reader of the log, `publish` what happens between ledger and Redis, `protocol` all of it with workers;
//! `docs/proofs.md` says what they prove. `search` visits every state of the first two.
//! `OUTBOXD_TEST_MODEL=large` searches the larger bounds that the proof's page names, too.

mod protocol;
mod publish;
mod reader;
mod search;

/// Whether the larger bounds were asked for.
fn large() -> bool {
    std::env::var("OUTBOXD_TEST_MODEL").is_ok_and(|size| size == "large")
}
