//! The relay's statements, from `sql/queries`, with the schema filled in.

/// An identifier, quoted.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

macro_rules! queries {
    ($($name:ident = $file:literal),* $(,)?) => {
        /// The text of every statement.
        pub(super) struct Queries {
            $(pub(super) $name: String,)*
        }

        impl Queries {
            /// For the outbox in `schema`.
            pub(super) fn new(schema: &str) -> Self {
                let prefix = format!("{}.", quote(schema));
                let fill = |text: &str| text.replace("/*schema.*/", &prefix);
                Self { $($name: fill(include_str!(concat!("../../sql/queries/", $file, ".sql"))),)* }
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
    gauge = "gauge",
    identity = "identity",
    incidents = "incidents",
    known = "known",
    log_bytes = "log_bytes",
    mark = "mark",
    open = "open",
    pause = "pause",
    plan = "plan",
    read = "read",
    recovered = "recovered",
    release = "release",
    relocate = "move",
    remember = "remember",
    repair = "repair",
    replay = "replay",
    replay_cancel = "replay_cancel",
    resume = "resume",
    rotate = "rotate",
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
        let queries = Queries::new("My \"Schema\"");
        assert!(queries.plan.contains("from \"My \"\"Schema\"\"\".outbox_plan("));
        assert!(!queries.plan.contains("/*schema"));
    }
}
