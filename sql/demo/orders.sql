-- The demo's shop: the application's own table.
create table orders (
  number    bigint      primary key,
  task_id   uuid        not null unique,
  placed_at timestamptz not null default now()
)
