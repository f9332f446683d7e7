-- Numbers per queue for operators.
select queue, pending, estimated, oldest_ms, held, dead, newest, reached, paused, reason, stopped_reason, stopped_by,
       stopped_at, relay, consumed, outstanding, confirmed_at, incidents
  from /*schema.*/outbox_gauge();
