-- OPEN: replaces the observed marker of a queue by that of a new tenure, if it is still what was observed.
--
-- KEYS  1 the marker's hash
-- ARGV  1 field  2 '1' if a value was observed, '0' if none  3 the observed value, or ''  4 the new value
--
-- Replies  {OK, run id, replication id}  {STALE, value or nil}  {REPLICA}
--
-- A value that is already the new one is this command's own first execution, whose reply was lost. The incarnation is
-- read in the same step, so that it is the one that the marker was written in.

local marker, field, observed, expected, new = KEYS[1], ARGV[1], ARGV[2] == '1', ARGV[3], ARGV[4]

-- A replica may be configured to accept writes; its next synchronisation would drop them.
local replication = redis.call('INFO', 'replication')
if string.find(replication, 'role:slave', 1, true) then return {'REPLICA'} end

local current = redis.call('HGET', marker, field)
if current ~= new then
  if observed then
    if current ~= expected then return {'STALE', current} end
  elseif current then
    return {'STALE', current}
  end
  redis.call('HSET', marker, field, new)
end
local server = redis.call('INFO', 'server')
return {'OK', string.match(server, 'run_id:(%w+)') or '', string.match(replication, 'master_replid:(%w+)') or ''}
