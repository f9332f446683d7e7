//! Lists, and what consumers have taken from them and not finished.

use redis::{Cmd, Pipeline, Value};

use super::replies::Replies;
use super::{Present, Rows, Snapshot, SnapshotAsk, head, is_too_much, keys, read_head};
use crate::broker::connect::Link;
use crate::broker::evidence::Facts;
use crate::broker::marker::Found;
use crate::broker::open::bytes;
use crate::fault::Fault;
use crate::wire::{FormatName, InFlightKind, Seen};

/// What a look without contents saw.
struct Glance {
    found: Found,
    facts: Facts,
    /// In all keys, those in flight included.
    messages: u64,
}

pub(super) async fn snapshot(link: &Link, ask: &SnapshotAsk<'_>) -> Result<Snapshot, Fault> {
    let mut commands = head(ask);
    commands.extend(lengths(ask));
    let mut replies = Replies::new(link, link.transaction_each(commands).await?);
    let glance = read_lengths(ask, &mut replies)?;
    if glance.messages == 0 || ask.format.name() == FormatName::Raw {
        return Ok(glance.unread());
    }
    if is_too_much(glance.messages, size(link, ask).await?, ask.limit) {
        return Ok(glance.too_many());
    }
    let mut commands = head(ask);
    commands.extend(lengths(ask));
    commands.extend(contents(ask));
    let mut replies = Replies::new(link, link.transaction_each(commands).await?);
    let glance = read_lengths(ask, &mut replies)?;
    // It may have grown since the first look; then not all of it was read.
    if glance.messages > ask.limit {
        return Ok(glance.too_many());
    }
    let mut rows = glance.rows();
    for _ in ask.format.keys() {
        read(ask, &mut replies, &mut rows, |message| Seen::Element(message))?;
    }
    for key in ask.format.in_flight() {
        match key.kind {
            InFlightKind::Processing => read(ask, &mut replies, &mut rows, |message| Seen::Element(message))?,
            InFlightKind::Unacked => read(ask, &mut replies, &mut rows, |held| Seen::Unacked(held))?,
        }
    }
    Ok(Snapshot { found: glance.found, facts: glance.facts, present: rows.present() })
}

fn lengths<'a>(ask: &'a SnapshotAsk<'_>) -> impl Iterator<Item = Cmd> + 'a {
    keys(ask.format).map(|(name, kind)| {
        let mut command = redis::cmd(if kind == "hash" { "HLEN" } else { "LLEN" });
        command.arg(name);
        command
    })
}

/// The end of a list is named, so that one that grows meanwhile cannot hold the server up.
fn contents<'a>(ask: &'a SnapshotAsk<'_>) -> impl Iterator<Item = Cmd> + 'a {
    keys(ask.format).map(|(name, kind)| {
        let mut command = redis::cmd(if kind == "hash" { "HVALS" } else { "LRANGE" });
        command.arg(name);
        if kind != "hash" {
            command.arg(0).arg(ask.limit);
        }
        command
    })
}

fn read_lengths(ask: &SnapshotAsk<'_>, replies: &mut Replies<'_>) -> Result<Glance, Fault> {
    let (found, mut facts) = read_head(ask, replies)?;
    for _ in ask.format.keys() {
        facts.length += replies.length()?;
    }
    let mut messages = facts.length;
    for _ in ask.format.in_flight() {
        messages += replies.length()?;
    }
    Ok(Glance { found, facts, messages })
}

/// Bytes in all keys, roughly: the server samples them. 0 where it does not tell.
async fn size(link: &Link, ask: &SnapshotAsk<'_>) -> Result<u64, Fault> {
    let mut pipeline = Pipeline::new();
    for (name, _) in keys(ask.format) {
        pipeline.cmd("MEMORY").arg("USAGE").arg(name);
    }
    let replies = link.pipeline(&pipeline).await?;
    let sizes = replies.into_iter().filter_map(|reply| match reply {
        Ok(Value::Int(bytes)) => u64::try_from(bytes).ok(),
        _ => None,
    });
    Ok(sizes.sum())
}

fn read(
    ask: &SnapshotAsk<'_>,
    replies: &mut Replies<'_>,
    rows: &mut Rows,
    seen: impl Fn(&[u8]) -> Seen<'_>,
) -> Result<(), Fault> {
    for element in replies.elements()? {
        let message = bytes(element).ok().flatten().ok_or_else(|| replies.odd())?;
        rows.count(ask.format.row_of(seen(&message)));
    }
    Ok(())
}

impl Glance {
    /// Rows before any message is read: a key of another type may have replaced messages.
    fn rows(&self) -> Rows {
        let wrong = self.facts.keys.iter().filter(|key| key.is_wrong()).count();
        Rows { unknown: wrong as u64, ..Rows::default() }
    }

    /// Nothing is there, or nothing that is there tells its row.
    fn unread(self) -> Snapshot {
        let mut rows = self.rows();
        rows.unknown += self.messages;
        Snapshot { found: self.found, facts: self.facts, present: rows.present() }
    }

    fn too_many(self) -> Snapshot {
        Snapshot { found: self.found, facts: self.facts, present: Present::TooMany(self.messages) }
    }
}
