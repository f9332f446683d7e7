//! One dead row, as `outboxd dead show` tells it. Of a finished Celery message it says what is in it.

use serde::Serialize;

use super::super::table::{columns, or_dash};
use crate::pg::DeadDetail;
use crate::wire::celery::Shown;

/// A dead row with what its finished message says, if it is a Celery message.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    #[serde(flatten)]
    dead: DeadDetail,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Shown>,
}

impl Told {
    pub(super) fn new(dead: DeadDetail) -> Self {
        let message = dead.body.as_deref().and_then(|body| Shown::read(body.as_bytes()));
        Self { dead, message }
    }
}

/// Everything that is known of one dead row, a line for each field.
pub(super) fn text(dead: &DeadDetail) -> String {
    let row = &dead.row;
    let done = if dead.done { "yes: outbox_once says that it happened; discard the task" } else { "not known" };
    let message = dead.body.as_deref().and_then(|body| Shown::read(body.as_bytes()));
    let body = dead.body.clone().or_else(|| dead.body_base64.as_ref().map(|text| format!("{text} (base64)")));
    let mut lines = vec![
        ("task id", row.task_id.to_string()),
        ("queue", row.queue.clone()),
        ("task", or_dash(Some(&row.task))),
        ("class", row.error_class.clone()),
        ("attempts", row.attempts.to_string()),
        ("first failed", row.first_failed_at.to_string()),
        ("last failed", row.last_failed_at.to_string()),
        ("effect", done.to_owned()),
        ("row", dead.id.to_string()),
        ("batch", or_dash(row.batch)),
        ("created", dead.created_at.to_string()),
        ("deliver at", or_dash(dead.deliver_at)),
        ("expires at", or_dash(dead.expires_at)),
        ("priority", or_dash(dead.priority)),
        ("args", dead.args.to_string()),
        ("kwargs", dead.kwargs.to_string()),
        ("headers", dead.headers.to_string()),
        ("body", or_dash(body)),
        ("error", row.error.clone()),
    ];
    if let Some(message) = &message {
        lines.extend(of_message(message));
    }
    let plain = |text: &str| text.replace(|c: char| c.is_control() && c != '\n' && c != '\t', "\u{fffd}");
    let rows: Vec<[String; 2]> = lines.into_iter().map(|(name, value)| [name.to_owned(), plain(&value)]).collect();
    columns(&rows)
}

/// The lines of a finished message.
fn of_message(message: &Shown) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("message task", message.task.clone()),
        ("message id", message.id.clone()),
        ("message retries", message.retries.to_string()),
    ];
    if let Some((kind, bytes)) = &message.opaque {
        lines.push(("message body", format!("opaque ({kind}, {bytes} bytes)")));
    }
    let arguments = [("message args", &message.args), ("message kwargs", &message.kwargs)];
    lines.extend(arguments.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?.to_string()))));
    lines
}
