-- Every table and sequence that the versioned migrations make. What hangs on them (partitions, indexes, triggers) goes too.
drop table if exists
  /*app.*/outbox, outbox_segment, outbox_queue, outbox_lane, outbox_batch, outbox_tenure, outbox_checkpoint, outbox_held, outbox_dead,
  outbox_incident, outbox_dedupe, outbox_receipt, outbox_meta, outbox_migration;
drop sequence if exists outbox_id_seq, outbox_segment_seq, outbox_bell_seq;
