//! The relay's statements, from `sql/queries`, with the schemas filled in.

use super::names::Schemas;

macro_rules! queries {
    ($($name:ident = $file:literal),* $(,)?) => {
        /// The text of every statement.
        pub(super) struct Queries {
            $(pub(super) $name: String,)*
        }

        impl Queries {
            /// For the outbox in these schemas.
            pub(super) fn new(schemas: &Schemas) -> Self {
                Self { $($name: schemas.fill(include_str!(concat!("../../sql/queries/", $file, ".sql"))),)* }
            }
        }
    };
}

queries! {
    ack = "ack",
    bell_waits = "bell_waits",
    bury = "bury",
    certify = "certify",
    confirm = "confirm",
    confirm_receipts = "confirm_receipts",
    dead_chosen = "dead_chosen",
    dead_discard = "dead_discard",
    dead_groups = "dead_groups",
    dead_list = "dead_list",
    dead_retry = "dead_retry",
    dead_show = "dead_show",
    doctor = "doctor",
    doubt = "doubt",
    fail = "fail",
    filtered = "filtered",
    forget = "forget",
    gauge = "gauge",
    identity = "identity",
    incidents = "incidents",
    known = "known",
    log_bytes = "log_bytes",
    mark = "mark",
    open = "open",
    pause = "pause",
    plan = "plan",
    plan_readable = "plan_readable",
    purge = "purge",
    read = "read",
    read_readable = "read_readable",
    recovered = "recovered",
    release = "release",
    relocate = "move",
    relays = "relays",
    remember = "remember",
    repair = "repair",
    replay = "replay",
    replay_cancel = "replay_cancel",
    resume = "resume",
    resume_stopped = "resume_stopped",
    rotate = "rotate",
    say = "say",
    sign_in = "sign_in",
    snapshot = "snapshot",
    stopped = "stopped",
    trim = "trim",
    truncatable = "truncatable",
    truncate = "truncate",
    undispatched = "undispatched",
    work = "work",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_names_the_schema_that_was_asked_for() {
        let queries = Queries::new(&Schemas::new("shop", "My \"Schema\""));
        assert!(queries.plan.contains("from \"My \"\"Schema\"\"\".outbox_plan("));
        assert!(queries.ack.contains("\"shop\".outbox_ack_many("));
        assert!(!queries.plan.contains("/*schema"));
    }
}
