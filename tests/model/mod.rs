//! Exhaustive models: every interleaving within stated bounds, where random tests have been shown not to be enough.
//!
//! `reader` is the reader of the log; its proof is `docs/proofs.md`. `search` visits every state.
//! `OUTBOXD_TEST_MODEL=large` searches the larger bounds that the proof's page names, too.

mod publish;
mod reader;
mod search;

/// Whether the larger bounds were asked for.
fn large() -> bool {
    std::env::var("OUTBOXD_TEST_MODEL").is_ok_and(|size| size == "large")
}
