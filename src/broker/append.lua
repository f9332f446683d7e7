-- APPEND: pushes one batch and moves its queue's marker from `from` to `to`, or does nothing at all.
--
-- KEYS  1 the marker's hash; 2.. every key that the queue's format may use
-- ARGV  1 field  2 tenure  3 from  4 to  5 consumer group, or ''  6 one letter per key from KEYS[2] on: l list, s stream
--       7 number of segments, then for each: key (1 = KEYS[2]), command, number of messages
--       then the messages of each segment in turn; one of a stream is preceded by the number of its arguments
--
-- Replies  {OK, depth}  {ALREADY}  {MISSING}  {FOREIGN, value}  {GAP, position}  {WRONGTYPE, key, type}  {NOPERM, key, command}
--
-- Order is what makes it safe: every check comes before the first write, the first write is a push (a deny-oom
-- command, so that a full server refuses the whole), and the marker is the last.
-- Positions are compared as numbers (exact up to 2^53) and written as the text that came in.

local LIMIT = 1000 -- arguments per push: Lua's unpack fails at about 8,000

local marker, field, tenure, from, to = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local group, kinds, segments = ARGV[5], ARGV[6], tonumber(ARGV[7])

local current = redis.call('HGET', marker, field)
if not current then return {'MISSING'} end
local holder, position = string.match(current, '^(%x+):(%d+)$')
if holder ~= tenure then return {'FOREIGN', current} end
if tonumber(position) >= tonumber(to) then return {'ALREADY'} end
-- Between from and to is a gap as well: part of the batch is there already.
if tonumber(position) ~= tonumber(from) then return {'GAP', position} end

local TYPES = {l = 'list', s = 'stream'}
for i = 2, #KEYS do
  local found = redis.call('TYPE', KEYS[i]).ok
  if found ~= 'none' and found ~= TYPES[string.sub(kinds, i - 1, i - 1)] then return {'WRONGTYPE', KEYS[i], found} end
end

-- A right that is missing halfway would leave messages without their marker. Servers before 7.0 cannot be asked.
local function may(...)
  return not redis.acl_check_cmd or redis.acl_check_cmd(...)
end
if not may('HSET', marker, field, '') then return {'NOPERM', marker, 'hset'} end
for s = 1, segments do
  local key, command = KEYS[tonumber(ARGV[5 + 3 * s]) + 1], ARGV[6 + 3 * s]
  if command == 'XADD' then
    if not may('XADD', key, '*', '', '') then return {'NOPERM', key, 'xadd'} end
    if group ~= '' and not may('XGROUP', 'CREATE', key, group, '0') then return {'NOPERM', key, 'xgroup'} end
  elseif not may(command, key, '') then
    return {'NOPERM', key, string.lower(command)}
  end
end

-- Not XGROUP CREATE alone: its BUSYGROUP at every batch would fill the server's error statistics.
local function ensure_group(key)
  local groups = redis.pcall('XINFO', 'GROUPS', key)
  if not groups.err then
    for _, it in ipairs(groups) do
      if it[2] == group then return end
    end
  end
  redis.pcall('XGROUP', 'CREATE', key, group, '0')
end

local at = 8 + 3 * segments
for s = 1, segments do
  local key, command = KEYS[tonumber(ARGV[5 + 3 * s]) + 1], ARGV[6 + 3 * s]
  local count = tonumber(ARGV[7 + 3 * s])
  if command == 'XADD' then
    for _ = 1, count do
      local size = tonumber(ARGV[at])
      redis.call('XADD', key, '*', unpack(ARGV, at + 1, at + size))
      at = at + 1 + size
    end
    if group ~= '' then ensure_group(key) end
  else
    local last = at + count - 1
    for first = at, last, LIMIT do
      redis.call(command, key, unpack(ARGV, first, math.min(first + LIMIT - 1, last)))
    end
    at = last + 1
  end
end

local depth = 0
for i = 2, #KEYS do
  if string.sub(kinds, i - 1, i - 1) == 'l' then depth = depth + redis.call('LLEN', KEYS[i]) end
end
redis.call('HSET', marker, field, tenure .. ':' .. to)
return {'OK', depth}
