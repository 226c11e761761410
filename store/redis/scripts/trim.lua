-- writ:write
-- KEYS: set, stream, lineages, notes. ARGV: the instance that the plan is for, and how
-- often the log was trimmed when it was made; the id and MAC of the last record that goes;
-- three times the number of runs, and for each its first and last index and its note; the
-- number of lineages to forget, and they; then the ids that go. Only what trims removes,
-- and it counts: so the plan still holds if the count does and the record is the one that
-- was planned for, which stands for all before it.
local master, instance = serving(KEYS[1])
if not master then return demoted() end
if instance ~= ARGV[1] or (redis.call('HGET', KEYS[3], 'trims') or '0') ~= ARGV[2] then return 0 end
local data = item(KEYS[2], ARGV[3])
if data == nil or string.sub(data, -32) ~= ARGV[4] then return 0 end
local function last(member) return #member >= 16 and struct.unpack('>I8', member, 9) or math.huge end
local at = 6 + tonumber(ARGV[5])
local notes, old = {}, {}
for i = 6, at - 1, 3 do
  local first, most, note = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], first, most)) do
    if member ~= note and last(member) <= most then old[#old + 1] = member end
  end
  notes[#notes + 1] = first
  notes[#notes + 1] = note
end
local ids = at + 1 + tonumber(ARGV[at])
-- A part of this may come late (see clear.lua): then too what is gone is what a note stands
-- for. So the notes come first, all records go at once, and the notes that stand for less
-- than another go last.
redis.call('HINCRBY', KEYS[3], 'trims', 1)
redis.call('ZADD', KEYS[4], unpack(notes))
redis.call('XDEL', KEYS[2], unpack(ARGV, ids))
for i = 1, #old, 1000 do redis.call('ZREM', KEYS[4], unpack(old, i, math.min(i + 999, #old))) end
for i = at + 1, ids - 1 do redis.call('HDEL', KEYS[3], ARGV[i]) end
return 1
