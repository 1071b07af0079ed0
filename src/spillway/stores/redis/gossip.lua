-- One sync of one node of limits that are kept together by telling: takes what it counted, gives what others did.
--
-- KEYS[1]  hash: `slot|node` -> the entry, packed
-- KEYS[2]  sorted set: those fields by the version of their last change
-- KEYS[3]  sorted set: those fields by slot
-- KEYS[4]  hash: `node` -> its weight and requests under way, packed; `~version`, `~blocked`
-- KEYS[5]  sorted set: nodes by the time of their last sync
-- ARGV[1]  MessagePack of the sync, see `Telling` in gossip.py

local telling = cmsgpack.unpack(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local entries, changes, slots, facts, nodes = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

local version = tonumber(redis.call('HGET', facts, '~version') or 0)
local since = telling.since
if since > version then since = -1 end

local oldest = math.floor((now - telling.window_ms) / telling.width_ms) - 2
local gone = redis.call('ZRANGEBYSCORE', slots, '-inf', oldest)
for at = 1, #gone, 100 do
  local some = {}
  for i = at, math.min(at + 99, #gone) do some[#some + 1] = gone[i] end
  redis.call('HDEL', entries, unpack(some))
  redis.call('ZREM', changes, unpack(some))
  redis.call('ZREM', slots, unpack(some))
end

local told = {}
if since >= -1 then
  for _, field in ipairs(redis.call('ZRANGEBYSCORE', changes, '(' .. since, '+inf')) do
    local slot, node = string.match(field, '^(%d+)|(.*)$')
    if node ~= telling.node then told[#told + 1] = { node, tonumber(slot), redis.call('HGET', entries, field) } end
  end
end

for _, delta in ipairs(telling.deltas) do
  local field = string.format('%d|%s', delta[1], telling.node)
  version = version + 1
  redis.call('HSET', entries, field, delta[2])
  redis.call('ZADD', changes, version, field)
  redis.call('ZADD', slots, delta[1], field)
end
redis.call('HSET', facts, '~version', version)

if telling.blocked_ms > 0 then
  local till = now + telling.blocked_ms
  if till > tonumber(redis.call('HGET', facts, '~blocked') or 0) then redis.call('HSET', facts, '~blocked', till) end
end

for _, node in ipairs(redis.call('ZRANGEBYSCORE', nodes, '-inf', now - telling.silent_ms)) do
  redis.call('ZREM', nodes, node)
  redis.call('HDEL', facts, node)
end
if telling.leaving then
  redis.call('ZREM', nodes, telling.node)
  redis.call('HDEL', facts, telling.node)
else
  redis.call('ZADD', nodes, now, telling.node)
  redis.call('HSET', facts, telling.node, cmsgpack.pack({ telling.weight, telling.in_flight }))
end

local weights, in_flight = 0, 0
for _, node in ipairs(redis.call('ZRANGE', nodes, 0, -1)) do
  local fact = cmsgpack.unpack(redis.call('HGET', facts, node))
  weights = weights + fact[1]
  if node ~= telling.node then in_flight = in_flight + fact[2] end
end

local keep = 2 * telling.window_ms + telling.silent_ms + 60000
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, keep) end
return cmsgpack.pack({
  now = now, version = version, told = told, weights = weights, in_flight = in_flight, nodes = redis.call('ZCARD', nodes),
  blocked_in = math.max(0, tonumber(redis.call('HGET', facts, '~blocked') or 0) - now), anew = since == -1,
})
