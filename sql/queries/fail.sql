-- Receipts that carry a failure: how many of them were new. In the order of the ids, so that two relays that store the same
-- ones wait for each other instead of deadlocking.
select pg_catalog.count(*) filter (where f.new)
  from (select /*app.*/outbox_fail(u.id, u.class, u.error, u.outbox_id) as new
          from (select u.id, u.class, u.error, u.outbox_id
                  from rows from (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3),
                                  pg_catalog.unnest($4))
                       with ordinality as u(id, class, error, outbox_id, n)
                 order by u.id, u.n offset 0) u offset 0) f;
