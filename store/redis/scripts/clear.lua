-- ARGV: instance that is known, id and MAC of the last record that was seen; the instance
-- that must serve; the MAC that the last record must have; the step; how many ids to
-- clear. Answers the id before which none can be added.
--
-- Before a lineage is opened the append-only file is made to say what is here. Where Redis
-- ended in the middle of a transaction, its next start leaves that out, but not out of the
-- file: what is written from then on follows it there, and the start after that carries it
-- all out. So a part of an append or of an open may come to stand after the tail, where it
-- never was for anybody. Three steps, in this order, each of which may be the last one:
--   close  writes a transaction, whose end in the file ends the one that hangs open.
--   clear  deletes what may have come of that. It is one command, which is written whole
--          or not at all; and is written only if it deletes something here, so
--          something is added first that the file does not get.
--   raise  makes the file too go on after what was cleared: what may hang open next lies
--          there, and is cleared from there.
-- The first two are due once for a process of Redis, whatever its data set: it is noted where
-- the file does not get it.
local master, instance = serving(KEYS[1])
if not master then return demoted() end
local _, data, top = tail(KEYS[2])
if instance ~= ARGV[4] or string.sub(data, -32) ~= ARGV[5] then
  return status(instance, ARGV[1], ARGV[2], ARGV[3])
end
local step, process = ARGV[6], string.match(instance, '^.*:')
local due = redis.call('HGET', KEYS[3], 'cleared') ~= process
if step == 'close' and due then
  redis.pcall('XGROUP', 'DESTROY', KEYS[2], 'writ') -- a part of this may have come to stand too
  redis.call('XGROUP', 'CREATE', KEYS[2], 'writ', '0', 'MKSTREAM')
  redis.call('XGROUP', 'DESTROY', KEYS[2], 'writ')
elseif step == 'clear' and due then
  local first, ids = index(top) + 1, {}
  for i = 1, tonumber(ARGV[7]) do ids[i] = string.format('%.0f-0', first + i - 1) end
  top = ids[#ids]
  redis.set_repl(redis.REPL_NONE)
  redis.call('HSET', KEYS[3], 'cleared', process)
  redis.call('XADD', KEYS[2], top, 'r', '')
  redis.set_repl(redis.REPL_ALL)
  redis.call('XDEL', KEYS[2], unpack(ids))
elseif step == 'raise' and top ~= '0-0' then -- else there is no stream
  redis.call('XSETID', KEYS[2], top)
end
return {top}
