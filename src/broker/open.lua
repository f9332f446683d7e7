-- OPEN: replaces the observed marker of a queue by that of a new tenure, if it is still what was observed.
--
-- KEYS  1 the marker's hash
-- ARGV  1 field  2 '1' if a value was observed, '0' if none  3 the observed value, or ''  4 the new value
--
-- Replies  {OK}  {STALE, value or nil}
--
-- A value that is already the new one is this command's own first execution, whose reply was lost. The caller reads the
-- incarnation and the role beside it, in one transaction: some servers let no script call INFO.

local marker, field, observed, expected, new = KEYS[1], ARGV[1], ARGV[2] == '1', ARGV[3], ARGV[4]

local current = redis.call('HGET', marker, field)
if current ~= new then
  if observed then
    if current ~= expected then return {'STALE', current} end
  elseif current then
    return {'STALE', current}
  end
  redis.call('HSET', marker, field, new)
end
return {'OK'}
