-- writ:write
-- KEYS: bucket. ARGV: the expiry field as it was read, '1' if the bucket begins
-- anew, its time to live in milliseconds or nothing; then triples of a field, its
-- value as it was read, and its new one. Answers the fields that another writer
-- has changed meanwhile.
local expiry = '\0'
if (redis.call('HGET', KEYS[1], expiry) or '') ~= ARGV[1] then return 0 end
if ARGV[2] == '1' then redis.call('DEL', KEYS[1]) end
local changed = {}
for i = 4, #ARGV, 3 do
  if (redis.call('HGET', KEYS[1], ARGV[i]) or '') == ARGV[i + 1] then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
  else
    changed[#changed + 1] = ARGV[i]
  end
end
if ARGV[3] ~= '' then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return changed
