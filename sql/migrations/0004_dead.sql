-- What a dead row that an operator retries needs.

-- Why the row was dead before it was retried: batch, error_class, error, attempts, first_failed_at, last_failed_at, the
-- expires_at and the receipt (acked_at) that it had. Counts further failures from there; taking the retry back restores it.
alter table outbox_held add column died jsonb;
