-- Numbers per queue for operators, and when the relay last noticed a loss.
select /*schema.*/outbox_shown(g.queue), g.pending, g.estimated, g.oldest_ms, g.held, g.dead, g.newest, g.reached, g.paused, g.reason,
       g.stopped_reason, g.stopped_by, g.stopped_at, g.relay, g.consumed, g.outstanding, g.confirmed_at, g.incidents,
       (select max(i.noticed_at) from /*schema.*/outbox_incident i
         where i.queue = g.queue and i.cause not in ('operator', 'repair', 'purged', 'moved')),
       g.unconsumed, g.lives, g.state, g.why, g.since, g.seen
  from /*schema.*/outbox_gauge() g;
