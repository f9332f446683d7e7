//! A stream: what some group has not read yet, and what it has read and not acknowledged.
//!
//! Which entries to fetch is known only after the groups were looked at, and what was looked at may move on meanwhile.
//! So a first look makes a plan, and the transaction that fetches by it reads the groups again: if it does not cover
//! what they say then, the next try begins with a new look.

use std::collections::{BTreeMap, BTreeSet};

use redis::{Cmd, Pipeline, Value};

use super::replies::Replies;
use super::{Present, Rows, Snapshot, SnapshotAsk, head, is_too_much, read_head};
use crate::broker::connect::Link;
use crate::broker::evidence::{EntryId, Facts, StreamFacts};
use crate::broker::marker::Found;
use crate::broker::open::bytes;
use crate::fault::Fault;
use crate::wire::{Seen, Whose};

/// How often a plan may be overtaken. One that is reads what was new a moment ago, so a second try nearly always does.
const TRIES: u32 = 4;

/// A group as the server says about it.
struct Group {
    name: Vec<u8>,
    last_delivered: EntryId,
    pending: u64,
    /// Unread entries; `None` if the server lost count.
    lag: Option<u64>,
    /// How many entries it has read, as the server counts from the stream's first one.
    read: Option<u64>,
}

/// What a look without contents saw.
struct Glance {
    found: Found,
    facts: Facts,
    stream: StreamFacts,
    groups: Vec<Group>,
}

/// What to fetch.
struct Plan {
    /// The groups' names.
    groups: Vec<Vec<u8>>,
    /// All entries after this one.
    after: EntryId,
    /// And these, which are not after it.
    single: Vec<EntryId>,
}

pub(super) async fn snapshot(link: &Link, ask: &SnapshotAsk<'_>, key: &[u8]) -> Result<Snapshot, Fault> {
    for _ in 0..TRIES {
        let mut commands = head(ask);
        commands.extend(about(key));
        let mut replies = Replies::new(link, link.transaction_each(commands).await?);
        let glance = Glance::read(ask, &mut replies)?;
        if glance.is_drained() {
            return Ok(glance.snapshot(Rows::default().present()));
        }
        let messages = glance.estimate();
        let bytes = glance.share(messages, memory(link, key).await?);
        if is_too_much(messages, bytes, ask.limit) {
            return Ok(glance.snapshot(Present::TooMany(messages)));
        }
        let Some(plan) = plan(link, key, &glance, ask.limit).await? else { continue };
        let mut commands = head(ask);
        commands.extend(about(key));
        commands.extend(plan.commands(key, ask.limit));
        let mut replies = Replies::new(link, link.transaction_each(commands).await?);
        let glance = Glance::read(ask, &mut replies)?;
        if let Some(snapshot) = fetch(ask, &plan, glance, &mut replies)? {
            return Ok(snapshot);
        }
    }
    let mut commands = head(ask);
    commands.extend(about(key));
    let mut replies = Replies::new(link, link.transaction_each(commands).await?);
    let unknown = Rows { unknown: 1, ..Rows::default() };
    Ok(Glance::read(ask, &mut replies)?.snapshot(unknown.present()))
}

fn about(key: &[u8]) -> [Cmd; 2] {
    ["STREAM", "GROUPS"].map(|what| {
        let mut command = redis::cmd("XINFO");
        command.arg(what).arg(key);
        command
    })
}

/// One more than the limit, so that more than the limit shows.
fn pending(key: &[u8], group: &[u8], limit: u64) -> Cmd {
    let mut command = redis::cmd("XPENDING");
    command.arg(key).arg(group).arg("-").arg("+").arg(limit.saturating_add(1));
    command
}

/// Bytes of the whole stream, roughly; 0 where the server does not tell.
async fn memory(link: &Link, key: &[u8]) -> Result<u64, Fault> {
    let mut pipeline = Pipeline::new();
    pipeline.cmd("MEMORY").arg("USAGE").arg(key);
    match link.pipeline(&pipeline).await?.pop() {
        Some(Ok(Value::Int(bytes))) => Ok(u64::try_from(bytes).unwrap_or(0)),
        _ => Ok(0),
    }
}

/// `None` if a group went away meanwhile.
async fn plan(link: &Link, key: &[u8], glance: &Glance, limit: u64) -> Result<Option<Plan>, Fault> {
    let after = glance.groups.iter().map(|group| group.last_delivered).min().unwrap_or_default();
    let mut single = BTreeSet::new();
    let mut pipeline = Pipeline::new();
    for group in glance.groups.iter().filter(|group| group.pending > 0) {
        pipeline.add_command(pending(key, &group.name, limit));
    }
    if !pipeline.is_empty() {
        let mut replies = Replies::new(link, link.pipeline(&pipeline).await?);
        for _ in 0..pipeline.len() {
            let Some(ids) = read_pending(&mut replies)? else { return Ok(None) };
            single.extend(ids.into_iter().filter(|id| *id <= after));
        }
    }
    let groups = glance.groups.iter().map(|group| group.name.clone()).collect();
    Ok(Some(Plan { groups, after, single: single.into_iter().collect() }))
}

/// The ids that a group has read and not acknowledged. `None` if there is no such group any more.
fn read_pending(replies: &mut Replies<'_>) -> Result<Option<Vec<EntryId>>, Fault> {
    let items = match replies.elements() {
        Err(fault) if fault.reason().class == "no_group" => return Ok(None),
        items => items?,
    };
    let ids = items.into_iter().map(|item| match item {
        Value::Array(parts) => parts.into_iter().next().and_then(entry_id).ok_or_else(|| replies.odd()),
        _ => Err(replies.odd()),
    });
    ids.collect::<Result<_, _>>().map(Some)
}

impl Plan {
    fn commands(&self, key: &[u8], limit: u64) -> Vec<Cmd> {
        let mut commands: Vec<Cmd> = self.groups.iter().map(|group| pending(key, group, limit)).collect();
        let mut range = redis::cmd("XRANGE");
        range.arg(key).arg(format!("({}", self.after)).arg("+").arg("COUNT").arg(limit.saturating_add(1));
        commands.push(range);
        for id in &self.single {
            let mut one = redis::cmd("XRANGE");
            one.arg(key).arg(id.to_string()).arg(id.to_string());
            commands.push(one);
        }
        commands
    }
}

/// Reads what the plan fetched. `None` if it does not cover what there is.
fn fetch(
    ask: &SnapshotAsk<'_>,
    plan: &Plan,
    mut glance: Glance,
    replies: &mut Replies<'_>,
) -> Result<Option<Snapshot>, Fault> {
    let mut held = BTreeSet::new();
    for _ in &plan.groups {
        let Some(ids) = read_pending(replies)? else { return Ok(None) };
        held.extend(ids);
    }
    let mut entries: BTreeMap<EntryId, Whose> = BTreeMap::new();
    for _ in 0..=plan.single.len() {
        read_entries(ask, replies, &mut entries)?;
    }
    let now = glance.groups.iter().map(|group| group.last_delivered).min().unwrap_or_default();
    let same = glance.groups.len() == plan.groups.len()
        && glance.groups.iter().zip(&plan.groups).all(|(group, name)| group.name == *name);
    let single: BTreeSet<_> = plan.single.iter().copied().collect();
    if !same || now < plan.after || held.iter().any(|id| *id <= plan.after && !single.contains(id)) {
        return Ok(None);
    }
    let standing = |id: &EntryId| *id > now || held.contains(id);
    let messages = entries.keys().filter(|id| standing(id)).count() as u64;
    if messages > ask.limit || held.len() as u64 > ask.limit || entries.len() as u64 > ask.limit {
        return Ok(Some(glance.snapshot(Present::TooMany(messages))));
    }
    glance.note_trimmed(&entries);
    let mut rows = Rows::default();
    entries.iter().filter(|(id, _)| standing(id)).for_each(|(_, whose)| rows.count(*whose));
    // Taken by a consumer, not acknowledged, and deleted: nothing proves that it was done, nor tells whose it was.
    rows.unknown += held.iter().filter(|id| !entries.contains_key(id)).count() as u64;
    Ok(Some(glance.snapshot(rows.present())))
}

fn read_entries(
    ask: &SnapshotAsk<'_>,
    replies: &mut Replies<'_>,
    entries: &mut BTreeMap<EntryId, Whose>,
) -> Result<(), Fault> {
    for entry in replies.elements()? {
        let (id, values) = split_entry(entry).ok_or_else(|| replies.odd())?;
        let fields: Vec<_> = values.chunks_exact(2).map(|pair| (pair[0].as_slice(), pair[1].as_slice())).collect();
        entries.insert(id, ask.format.row_of(Seen::Fields(&fields)));
    }
    Ok(())
}

/// `[id, [name, value, ..]]`.
fn split_entry(entry: Value) -> Option<(EntryId, Vec<Vec<u8>>)> {
    let Value::Array(parts) = entry else { return None };
    let [id, Value::Array(values)] = <[Value; 2]>::try_from(parts).ok()? else { return None };
    let values = values.into_iter().map(|value| bytes(value).ok().flatten()).collect::<Option<_>>()?;
    Some((entry_id(id)?, values))
}

fn entry_id(value: Value) -> Option<EntryId> {
    std::str::from_utf8(&bytes(value).ok()??).ok()?.parse().ok()
}

impl Glance {
    fn read(ask: &SnapshotAsk<'_>, replies: &mut Replies<'_>) -> Result<Self, Fault> {
        let (found, mut facts) = read_head(ask, replies)?;
        let mut stream = StreamFacts::default();
        let about = replies.elements()?;
        stream.exists = !about.is_empty();
        for (name, value) in named(about) {
            match (name.as_slice(), value) {
                (b"length", Value::Int(number)) => facts.length = u64::try_from(number).unwrap_or(0),
                (b"entries-added", Value::Int(number)) => stream.added = u64::try_from(number).ok(),
                (b"last-generated-id", id) => stream.last_generated = entry_id(id).unwrap_or_default(),
                (b"max-deleted-entry-id", id) => stream.max_deleted = entry_id(id),
                (b"first-entry", entry) => stream.first = split_entry(entry).map(|(id, _)| id),
                _ => {}
            }
        }
        let mut groups = Vec::new();
        for group in replies.elements()? {
            let Value::Array(fields) = group else { return Err(replies.odd()) };
            groups.push(Group::read(fields).ok_or_else(|| replies.odd())?);
        }
        let deleted = stream.max_deleted.unwrap_or_default();
        stream.unread_deleted = groups.iter().any(|group| deleted > group.last_delivered);
        Ok(Self { found, facts, stream, groups })
    }

    /// Every group has read and acknowledged everything, or there is nothing.
    fn is_drained(&self) -> bool {
        let done = |group: &Group| group.pending == 0 && group.last_delivered >= self.stream.last_generated;
        self.facts.length == 0 && self.groups.iter().all(|group| group.pending == 0)
            || !self.groups.is_empty() && self.groups.iter().all(done)
    }

    /// How many entries stand there, as the server counts them; an unknown lag counts as none and shows when it is read.
    fn estimate(&self) -> u64 {
        let unread = |group: &Group| group.lag.unwrap_or(0).min(self.facts.length);
        match self.groups.iter().map(unread).max() {
            Some(unread) => unread + self.groups.iter().map(|group| group.pending).sum::<u64>(),
            None => self.facts.length,
        }
    }

    /// The bytes of so many messages, if the whole stream has so many.
    fn share(&self, messages: u64, bytes: u64) -> u64 {
        let average = bytes / self.facts.length.max(1);
        average.saturating_mul(messages)
    }

    /// What a group has not read is counted by the server whether it is still there or not: in Redis 7.0 by its lag, in
    /// Redis 8 by what it has read, until it reads on.
    fn note_trimmed(&mut self, entries: &BTreeMap<EntryId, Whose>) {
        let missing = self.groups.iter().filter_map(|group| {
            let unread = entries.keys().filter(|id| **id > group.last_delivered).count() as u64;
            let lag = group.lag?;
            let ever = self.stream.added.zip(group.read).map_or(0, |(added, read)| added.saturating_sub(read));
            Some(ever.max(lag).saturating_sub(unread))
        });
        self.stream.unread_trimmed = missing.max().unwrap_or(0);
    }

    fn snapshot(mut self, mut present: Present) -> Snapshot {
        if let Present::Rows { unknown, .. } = &mut present {
            *unknown += self.facts.keys.iter().filter(|key| key.is_wrong()).count() as u64;
        }
        self.facts.stream = Some(self.stream);
        Snapshot { found: self.found, facts: self.facts, present }
    }
}

impl Group {
    fn read(fields: Vec<Value>) -> Option<Self> {
        let mut group =
            Self { name: Vec::new(), last_delivered: EntryId::default(), pending: 0, lag: None, read: None };
        let mut complete = 0;
        for (field, value) in named(fields) {
            match (field.as_slice(), value) {
                (b"name", name) => (group.name, complete) = (bytes(name).ok()??, complete + 1),
                (b"last-delivered-id", id) => (group.last_delivered, complete) = (entry_id(id)?, complete + 1),
                (b"pending", Value::Int(number)) => {
                    (group.pending, complete) = (u64::try_from(number).ok()?, complete + 1);
                }
                (b"lag", Value::Int(number)) => group.lag = u64::try_from(number).ok(),
                (b"entries-read", Value::Int(number)) => group.read = u64::try_from(number).ok(),
                _ => {}
            }
        }
        (complete == 3).then_some(group)
    }
}

/// Names and values in turn.
fn named(fields: Vec<Value>) -> impl Iterator<Item = (Vec<u8>, Value)> {
    let mut fields = fields.into_iter();
    std::iter::from_fn(move || Some((bytes(fields.next()?).ok().flatten().unwrap_or_default(), fields.next()?)))
}
