-- Which files of which release made this schema.
create table if not exists outbox_migration (
  name       text        primary key,   -- the file's path below sql/
  kind       text        not null check (kind in ('versioned', 'repeatable')),
  checksum   text        not null,      -- SHA-256 of the file
  objects    text[]      not null,      -- what a repeatable file makes, as DROP would name it
  release    text        not null,      -- the release of outboxd that applied it
  applied_at timestamptz not null default clock_timestamp()
);
