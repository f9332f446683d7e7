-- A checkpoint by receipts.
select consumed, outstanding, scheduled
  from /*schema.*/outbox_confirm_receipts($1, $2, $3, $4, make_interval(secs => $5));
