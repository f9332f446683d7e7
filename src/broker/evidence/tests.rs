//! What two looks claim, and what they must not.

use proptest::prelude::*;

use super::*;

fn facts(length: u64, single: u64) -> Facts {
    let list = KeyFacts { key: "celery".to_owned(), wanted: "list", found: "list".to_owned(), ttl: None };
    Facts { length, pops: Some(Pops { single, many: 0 }), keys: vec![list], ..Facts::default() }
}

fn class(before: &Facts, after: &Facts, pushed: u64) -> Option<&'static str> {
    judge(before, after, pushed).map(|it| it.class())
}

proptest! {
    #[test]
    fn consumers_that_pop_one_at_a_time_never_look_like_a_loss(
        length in 0..10_000_u64, pushed in 0..10_000_u64, foreign in 0..10_000_u64, pops in 0..20_000_u64,
        blocked in 0..50_u64, misses in 0..100_u64, earlier in 0..1000_u64,
    ) {
        // Whoever was blocked takes by a call that was counted earlier; calls may also find nothing.
        let popped = pops.min(length + pushed + foreign);
        let calls = popped.saturating_sub(blocked) + misses;
        let mut before = facts(length, earlier);
        before.server.blocked_clients = blocked;
        let after = facts(length + pushed + foreign - popped, earlier + calls);
        prop_assert_eq!(judge(&before, &after, pushed), None);
    }

    #[test]
    fn more_gone_than_taken_is_a_loss(length in 1..10_000_u64, pushed in 0..100_u64, pops in 0..10_000_u64) {
        let after = facts(0, pops);
        let found = judge(&facts(length, 0), &after, pushed);
        let wanted = (length + pushed > pops).then_some(Break::Vanished { missing: length + pushed, pops });
        prop_assert_eq!(found, wanted);
    }
}

#[test]
fn a_stream_that_was_deleted_and_filled_again_lacks_what_was_added_since() {
    let with = |stream: StreamFacts| Facts { stream: Some(stream), ..facts(0, 0) };
    let of = |added: u64, last: u64| {
        with(StreamFacts {
            exists: true,
            added: Some(added),
            last_generated: EntryId(last, 0),
            ..StreamFacts::default()
        })
    };
    let none = with(StreamFacts { added: Some(0), ..StreamFacts::default() });
    assert_eq!(class(&of(25, 7), &of(55, 9), 30), None);
    assert_eq!(class(&of(25, 7), &of(60, 9), 30), None, "others add to it, too");
    assert_eq!(class(&of(25, 7), &of(30, 9), 30), Some("stream_gone"), "and it holds more than before");
    assert_eq!(class(&none, &of(30, 9), 30), None);
    assert_eq!(class(&none, &of(5, 9), 30), Some("stream_gone"), "what came first was deleted before the first look");
    assert_eq!(class(&none, &none, 30), Some("stream_gone"));
    assert_eq!(class(&none, &none, 0), None);
}

#[test]
fn nothing_is_claimed_once_a_command_that_may_take_many_was_called_or_counters_went_back() {
    let before = facts(3000, 50);
    assert_eq!(class(&before, &facts(0, 60), 0), Some("vanished"));
    let mut many = facts(0, 60);
    many.pops = Some(Pops { single: 60, many: 1 });
    assert_eq!(class(&before, &many, 0), None);
    assert_eq!(class(&before, &facts(0, 10), 0), None, "CONFIG RESETSTAT");
    assert_eq!(class(&before, &Facts { pops: None, ..facts(0, 60) }, 0), None, "a server that does not tell");
    let mut restarted = facts(0, 60);
    restarted.server.incarnation.run_id = "another".to_owned();
    assert_eq!(class(&before, &restarted, 0), None, "the boundary deals with it");
}

#[test]
fn a_key_that_expires_or_holds_something_else_is_told_for_as_long_as_it_does() {
    let mut after = facts(5, 0);
    after.keys[0].ttl = Some(Duration::from_secs(1800));
    assert_eq!(class(&facts(5, 0), &after, 0), Some("expires"));
    assert_eq!(class(&after.clone(), &after, 0), Some("expires"));
    after.keys[0].found = "hash".to_owned();
    assert_eq!(class(&after.clone(), &after, 0), Some("wrongtype"));
    after.keys[0] = KeyFacts { found: "none".to_owned(), ttl: None, ..after.keys[0].clone() };
    assert_eq!(class(&after.clone(), &after, 0), None, "an empty list is no key");
}

#[test]
fn only_what_may_drop_our_keys_counts_as_eviction() {
    let with = |policy: &str, maxmemory: u64, evicted: u64| {
        let mut facts = facts(5, 0);
        facts.server.maxmemory_policy = policy.to_owned();
        (facts.server.maxmemory, facts.server.evicted_keys) = (maxmemory, evicted);
        facts
    };
    assert_eq!(class(&with("noeviction", 0, 0), &with("allkeys-lru", 100, 0), 0), Some("policy"));
    assert_eq!(class(&with("allkeys-lru", 100, 0), &with("allkeys-lru", 100, 0), 0), None);
    assert_eq!(class(&with("allkeys-lru", 100, 3), &with("allkeys-lru", 100, 4), 0), Some("evicted"));
    assert_eq!(class(&with("noeviction", 100, 3), &with("noeviction", 100, 4), 0), Some("evicted"));
    assert_eq!(class(&with("volatile-lru", 100, 3), &with("volatile-lru", 100, 9), 0), None);
    assert_eq!(class(&with("noeviction", 100, 3), &with("noeviction", 100, 0), 0), None);
    assert_eq!(unsafe_policy(&with("allkeys-random", 1, 0).server), Some("allkeys-random"));
    assert_eq!(unsafe_policy(&with("allkeys-random", 0, 0).server), None, "it has no limit to reach");
    assert_eq!(unsafe_policy(&with("eviction", 1, 0).server), Some("eviction"), "a policy of another server");
    for harmless in ["", "noeviction"] {
        assert_eq!(unsafe_policy(&with(harmless, 1, 0).server), None);
    }
    assert_eq!(unsafe_policy(&with("volatile-lru", 1, 0).server), None);
}

#[test]
fn a_stream_that_went_away_came_back_younger_or_lost_unread_entries_is_told_once() {
    let with = |stream: StreamFacts| Facts { stream: Some(stream), ..facts(0, 0) };
    let was = StreamFacts { exists: true, last_generated: EntryId(7, 1), added: Some(9), ..StreamFacts::default() };
    assert_eq!(class(&with(was), &with(was), 0), None);
    for younger in [
        StreamFacts::default(),
        StreamFacts { last_generated: EntryId(7, 0), ..was },
        StreamFacts { last_generated: EntryId(9, 0), added: Some(2), ..was },
    ] {
        assert_eq!(class(&with(was), &with(younger), 0), Some("stream_gone"));
    }
    let deleted = StreamFacts { unread_deleted: true, max_deleted: Some(EntryId(6, 0)), ..was };
    let trimmed = StreamFacts { unread_trimmed: 3, ..was };
    for lost in [deleted, trimmed] {
        assert_eq!(class(&with(was), &with(lost), 0), Some("stream_trimmed"));
        assert_eq!(class(&with(lost), &with(lost), 0), None);
    }
}

#[test]
fn the_calls_that_take_from_lists_are_read_from_the_statistics() {
    let info = "# Commandstats\r\ncmdstat_brpop:calls=11,usec=5\r\ncmdstat_lmove:calls=2,usec=1\r\ncmdstat_rpop:calls=4\r\n\
                cmdstat_lpush:calls=9,usec=1\r\n";
    assert_eq!(Pops::parse(info), Some(Pops { single: 13, many: 4 }));
    assert_eq!(Pops::parse("# Commandstats\r\n"), None);
}
