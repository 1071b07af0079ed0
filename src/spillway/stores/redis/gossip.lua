-- One sync of one node of limits that are kept together by telling: takes what it counted, gives what others did.
--
-- KEYS[1]  hash: `slot|node` -> the entry, eight numbers with blanks between
-- KEYS[2]  sorted set: those fields by the version of their last change
-- KEYS[3]  sorted set: those fields by slot
-- KEYS[4]  hash: `node` -> what it told of itself, packed; `~life`, `~version`, `~blocked`
-- KEYS[5]  sorted set: nodes by the time of their last sync
-- KEYS[6]  sorted set: nodes that have gone, by when
-- ARGV[1]  MessagePack of the sync, see `Telling` in gossip.py

local telling = cmsgpack.unpack(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local entries, changes, slots, facts, nodes, gone = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local me = telling.node

-- A name is one incarnation's: whoever begins with one that is or was in use is told so, and nothing is done.
if telling.fresh and (redis.call('ZSCORE', nodes, me) or redis.call('ZSCORE', gone, me)) then
  return cmsgpack.pack({ refused = true })
end

local life = redis.call('HGET', facts, '~life')
if not life then
  life = time[1] .. '.' .. time[2]
  redis.call('HSET', facts, '~life', life)
end
local version = tonumber(redis.call('HGET', facts, '~version') or 0)
local since = telling.since
if telling.life ~= life or since > version then since = -1 end

local function remove(fields)
  for at = 1, #fields, 100 do
    local some = {}
    for i = at, math.min(at + 99, #fields) do some[#some + 1] = fields[i] end
    redis.call('HDEL', entries, unpack(some))
    redis.call('ZREM', changes, unpack(some))
    redis.call('ZREM', slots, unpack(some))
  end
end

local function join(known, said)
  -- The larger of each of the eight.
  if not known or known == said then return said end
  local all, other = {}, string.gmatch(said, '%d+')
  for number in string.gmatch(known, '%d+') do
    local more = other()
    all[#all + 1] = tonumber(more) > tonumber(number) and more or number
  end
  return table.concat(all, ' ')
end

local function write(slot, node, said)
  local field = string.format('%d|%s', slot, node)
  local known = redis.call('HGET', entries, field)
  local entry = join(known, said)
  if entry == known then return end
  version = version + 1
  redis.call('HSET', entries, field, entry)
  redis.call('ZADD', changes, version, field)
  redis.call('ZADD', slots, slot, field)
end

local oldest = math.floor((now - telling.window_ms) / telling.width_ms) - 2
remove(redis.call('ZRANGEBYSCORE', slots, '-inf', oldest))

local told = {}
for _, field in ipairs(redis.call('ZRANGEBYSCORE', changes, '(' .. since, '+inf')) do
  local slot, node = string.match(field, '^(%d+)|(.*)$')
  if node ~= me then told[#told + 1] = { node, tonumber(slot), redis.call('HGET', entries, field) } end
end

-- What a silent node had granted and not sent counts as sent, under a name of its own.
local slot_now = math.floor(now / telling.width_ms)
for _, node in ipairs(redis.call('ZRANGEBYSCORE', nodes, '-inf', now - telling.silent_ms)) do
  local fact = redis.call('HGET', facts, node)
  local unsent = fact and cmsgpack.unpack(fact).unsent or { 0, 0, 0, 0 }
  if unsent[1] + unsent[2] + unsent[3] + unsent[4] > 0 then
    write(slot_now, node .. '*', string.format('%.0f %.0f %.0f %.0f 0 0 0 0', unpack(unsent)))
    told[#told + 1] = { node .. '*', slot_now, string.format('%.0f %.0f %.0f %.0f 0 0 0 0', unpack(unsent)) }
  end
  redis.call('ZREM', nodes, node)
  redis.call('HDEL', facts, node)
  redis.call('ZADD', gone, now, node)
end
redis.call('ZREMRANGEBYSCORE', gone, '-inf', now - telling.keep_ms)

for _, delta in ipairs(telling.deltas) do write(delta[1], me, delta[2]) end
for _, delta in ipairs(telling.heard) do write(delta[2], delta[1], delta[3]) end
redis.call('HSET', facts, '~version', version)

if telling.blocked_ms > 0 then
  local till = now + telling.blocked_ms
  if till > tonumber(redis.call('HGET', facts, '~blocked') or 0) then redis.call('HSET', facts, '~blocked', till) end
end

if telling.leaving then
  redis.call('ZREM', nodes, me)
  redis.call('HDEL', facts, me)
  redis.call('ZADD', gone, now, me)
else
  redis.call('ZREM', gone, me)
  redis.call('ZADD', nodes, now, me)
  redis.call('HSET', facts, me, cmsgpack.pack({
    weight = telling.weight, in_flight = telling.in_flight, unsent = telling.unsent, late_ms = telling.late_ms,
  }))
end

local weights, in_flight, unsent, silent, count = 0, 0, { 0, 0, 0, 0 }, {}, 0
local alive = redis.call('ZRANGE', nodes, 0, -1, 'WITHSCORES')
for at = 1, #alive, 2 do
  local node, seen = alive[at], tonumber(alive[at + 1])
  local fact = cmsgpack.unpack(redis.call('HGET', facts, node))
  count = count + 1
  weights = weights + fact.weight
  if node ~= me then
    in_flight = in_flight + fact.in_flight
    for i = 1, 4 do unsent[i] = unsent[i] + fact.unsent[i] end
    if now - seen > fact.late_ms then silent[#silent + 1] = { node, fact.weight } end
  end
end

for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, telling.keep_ms) end
return cmsgpack.pack({
  refused = false, now = now, life = life, version = version, told = told, weights = weights, in_flight = in_flight,
  unsent = unsent, silent = silent, nodes = count, anew = since == -1,
  blocked_in = math.max(0, tonumber(redis.call('HGET', facts, '~blocked') or 0) - now),
})
