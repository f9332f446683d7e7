-- outbox_ring(): rings the doorbell (NOTIFY outbox) if a relay sleeps and wants to be rung for.
--
-- Statement trigger after every insert into the outbox and into outbox_held. The bell holds until when (seconds since
-- 1970) a relay sleeps; 1 means awake. NULL, which it reads after a crash of the server, counts as asleep.
--
-- SECURITY DEFINER, so that producers need no right on the bell. A SET clause would cost more than the rest of it:
-- that is why every function and operator is named with its schema, and so is the bell.
create or replace function outbox_ring()
returns trigger
language plpgsql volatile
security definer
as $$
begin
  if (pg_catalog.pg_sequence_last_value($name$/*schema.*/outbox_bell_seq$name$::pg_catalog.regclass)
      operator(pg_catalog.>) pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())) is not false then
    perform pg_catalog.pg_notify('outbox', '');
  end if;
  return null;
end
$$;
