-- writ:write
-- KEYS: set, stream, lineages, notes. ARGV: the instance that the plan is for; how often
-- the log was trimmed when it was made; the id and MAC of the last record that goes; the
-- step, and its arguments. A trim is several steps, each of which writes one command, or
-- some of which any part will do, and may be the last one:
--   claim   counts the trim: others give up what they have planned.
--   note    puts the notes that stand for what goes beside those that are there: scores
--           and notes.
--   remove  removes the records: ids.
--   tidy    removes the notes that stand for less than another: three times the first and
--           last index of a run and its note; then the hints about lineages that are gone.
-- So what is gone is what a note stands for, always. Redis carries out a transaction by
-- halves, or late (see clear.lua), and no part of the last step does harm then.
local master, instance = serving(KEYS[1])
if not master then return demoted() end
if instance ~= ARGV[1] or (redis.call('HGET', KEYS[3], 'trims') or '0') ~= ARGV[2] then return 0 end
local step = ARGV[5]
if step == 'claim' then
  local data = item(KEYS[2], ARGV[3])
  if data == nil or string.sub(data, -32) ~= ARGV[4] then return 0 end
  redis.call('HINCRBY', KEYS[3], 'trims', 1)
elseif step == 'note' then
  redis.call('ZADD', KEYS[4], unpack(ARGV, 6))
elseif step == 'remove' then
  redis.call('XDEL', KEYS[2], unpack(ARGV, 6))
else
  local function last(member) return #member >= 16 and struct.unpack('>I8', member, 9) or math.huge end
  local runs = tonumber(ARGV[6])
  for i = 7, 6 + runs, 3 do
    local most = tonumber(ARGV[i + 1])
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], ARGV[i], ARGV[i + 1])) do
      if member ~= ARGV[i + 2] and last(member) <= most then redis.call('ZREM', KEYS[4], member) end
    end
  end
  for i = 7 + runs, #ARGV do redis.call('HDEL', KEYS[3], ARGV[i]) end
end
return 1
