-- writ:write
-- ARGV: instance that is known, id and MAC of the last record that was seen; the
-- instance that must serve; the MAC that the last record must have, and the top; the
-- index of the first record to add; for an open its lineage, place and the name for a
-- new data set, else nothing; how many indexes to clear; then the records.
local function id(index) return string.format('%.0f-0', index) end

-- clear takes away what is not here, in the append-only file alone. Where Redis could write
-- only a part of a transaction to it before its end, it leaves that out at its next start,
-- but not out of the file: the start after that carries it out, before what was written
-- since. Records of it would stand in the place of those that an open writes now.
local function clear(stream, top, room)
  local first, ids = index(top) + 1, {}
  for i = 1, room do ids[i] = id(first + i - 1) end
  redis.call('XADD', stream, ids[room], 'r', '') -- or there would be nothing to delete, and to write
  redis.call('XDEL', stream, unpack(ids))
  redis.call('XSETID', stream, top)
end

local master, instance = serving(KEYS[1])
if not master then return demoted() end
local _, data, top = tail(KEYS[2])
if instance ~= ARGV[4] or string.sub(data, -32) ~= ARGV[5] or top ~= ARGV[6] then
  return status(instance, ARGV[1], ARGV[2], ARGV[3])
end
if ARGV[10] ~= '' then redis.call('SET', KEYS[1], ARGV[10]) end
if ARGV[11] ~= '0' then clear(KEYS[2], top, tonumber(ARGV[11])) end
local first = tonumber(ARGV[7])
for i = 12, #ARGV do redis.call('XADD', KEYS[2], id(first + i - 12), 'r', ARGV[i]) end
if ARGV[8] ~= '' then redis.call('HSET', KEYS[3], ARGV[8], ARGV[9]) end
return {'done'}
