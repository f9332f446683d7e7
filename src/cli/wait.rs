//! `outboxd wait --drained`: ends when everything committed before the call is dispatched, dead or expired.

use std::time::Instant;

use clap::Args;

use super::config::SourceArgs;
use super::exit::Exit;
use super::{connect, say};
use crate::config::Period;
use crate::relay::drain::drained;

/// The arguments of `outboxd wait`.
#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// Until every row committed before this call is dispatched, dead or expired; held rows do not count
    #[arg(long, required = true)]
    drained: bool,
    /// Give up after this long, with exit code 1
    #[arg(long, default_value = "60s", value_name = "TIME")]
    timeout: Period,
    #[command(flatten)]
    sources: SourceArgs,
}

/// Asks Postgres until it is so.
pub(super) async fn run(args: WaitArgs) -> Exit {
    let outbox = match connect::outbox(&args.sources.sources()) {
        Ok(outbox) => outbox,
        Err(exit) => return exit,
    };
    let deadline = Instant::now() + args.timeout.get();
    match drained(&outbox, deadline, |_| true).await {
        Ok(left) if left.is_empty() => Exit::Ok,
        Ok(left) => {
            say(&format!(
                "outboxd: not drained within {}: {} (see `outboxd status`)",
                humantime::format_duration(args.timeout.get()),
                left.join(", ")
            ));
            Exit::Failure
        }
        Err(fault) => connect::failed(&fault),
    }
}
