-- Takes back what was not planned yet.
select /*schema.*/outbox_replay_cancel($1);
