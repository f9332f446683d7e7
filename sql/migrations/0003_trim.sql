-- What outbox_trim looks for every few seconds, found without reading what stays.
create index outbox_receipt_age on outbox_receipt (greatest(acked_at, once_at));
create index outbox_held_cancelled on outbox_held (cancelled_at) where cancelled_at is not null;
create index outbox_incident_settled on outbox_incident (coalesce(recovered_at, cancelled_at))
  where coalesce(recovered_at, cancelled_at) is not null;
