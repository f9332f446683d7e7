//! Names that operators type: one that is not known is an error everywhere, in the same words.

use uuid::Uuid;

use super::exit::Exit;
use super::say;
use crate::config::suggest::nearest;
use crate::fault::Fault;
use crate::pg::Outbox;

/// Says that a queue is not known, with the name that was meant if there is one like it.
pub(super) async fn unknown_queue(outbox: &Outbox, queue: &str) -> Result<Exit, Fault> {
    let known = outbox.known().await?;
    let meant = nearest(queue, known.iter().map(String::as_str)).filter(|name| *name != queue);
    let hint = meant.map_or_else(|| "see `outboxd queue list`".to_owned(), |name| format!("did you mean {name:?}?"));
    say(&format!("outboxd: there is no queue {queue:?}; {hint}"));
    Ok(Exit::Failure)
}

/// With which exit code a command ends that was given a queue which is not known; `None`: it is known, or none was given.
pub(super) async fn check_queue(outbox: &Outbox, queue: Option<&str>) -> Result<Option<Exit>, Fault> {
    let Some(queue) = queue else { return Ok(None) };
    if outbox.known().await?.iter().any(|known| known == queue) {
        return Ok(None);
    }
    unknown_queue(outbox, queue).await.map(Some)
}

/// What was meant by something else than a task id can only be guessed: a log line's `row`, for instance.
pub(super) fn task_id(text: &str) -> Result<Uuid, String> {
    text.parse().map_err(|_| {
        "a task's id is a UUID, as `outboxd dead list` shows it; the `row` of a log line is the `id` in outbox_dead"
            .to_owned()
    })
}
