-- Notes that a file was applied.
insert into outbox_migration (name, kind, checksum, objects, release) values
  (/*name*/, /*kind*/, /*checksum*/, /*objects*/, /*release*/)
on conflict (name) do update set
  kind = excluded.kind, checksum = excluded.checksum, objects = excluded.objects, release = excluded.release,
  applied_at = clock_timestamp();
