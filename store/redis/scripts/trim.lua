-- writ:write
-- KEYS: set, stream, lineages, notes. ARGV: how often the log was trimmed when the
-- plan began; the id and MAC of the last record that goes; three times the number of
-- runs, and for each its first and last index and its note; the number of lineages to
-- forget, and they; then the ids that go. Only what trims removes, and it counts: so
-- the plan still holds if the count does and the record is the one that was planned
-- for, which stands for all before it.
local master = serving(KEYS[1])
if not master then return demoted() end
if (redis.call('HGET', KEYS[3], 'trims') or '0') ~= ARGV[1] then return 0 end
local data = item(KEYS[2], ARGV[2])
if data == nil or string.sub(data, -32) ~= ARGV[3] then return 0 end
redis.call('HINCRBY', KEYS[3], 'trims', 1)
local at = 5 + tonumber(ARGV[4])
local old = {}
for i = 5, at - 1, 3 do
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], ARGV[i], ARGV[i + 1])) do
    if member ~= ARGV[i + 2] then old[#old + 1] = member end
  end
  redis.call('ZADD', KEYS[4], ARGV[i], ARGV[i + 2])
end
local ids = at + 1 + tonumber(ARGV[at])
-- All records go at once, after the notes that stand for them and before those that stood
-- for some: what may come of a part of this (see append.lua) is a log like any other.
redis.call('XDEL', KEYS[2], unpack(ARGV, ids))
for _, member in ipairs(old) do redis.call('ZREM', KEYS[4], member) end
for i = at + 1, ids - 1 do redis.call('HDEL', KEYS[3], ARGV[i]) end
return 1
