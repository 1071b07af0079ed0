-- One sync of one node of those that answer as one: takes what it publishes, gives who is there and what they publish.
--
-- KEYS[1]  hash: `node|piece` -> its text
-- KEYS[2]  hash: `node|piece` -> the version of its last change; `~version`
-- KEYS[3]  sorted set: nodes by the time of their last sync
-- KEYS[4]  set: nodes that have left and are not folded yet
-- KEYS[5]  hash: what nodes have left behind that are no more: `version`, `text`
-- ARGV[1]  MessagePack of the sync, see `Telling` in presence.py

local telling = cmsgpack.unpack(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local pieces, versions, seen, left, behind = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

local version = tonumber(redis.call('HGET', versions, '~version') or 0)
local behind_version = tonumber(redis.call('HGET', behind, 'version') or 0)
local folded = false

if telling.fold_version == behind_version then
  folded = true
  behind_version = behind_version + 1
  redis.call('HSET', behind, 'version', behind_version, 'text', telling.fold_text)
  for _, field in ipairs(redis.call('HKEYS', pieces)) do
    for _, node in ipairs(telling.fold_nodes) do
      if string.sub(field, 1, #node + 1) == node .. '|' then
        redis.call('HDEL', pieces, field)
        redis.call('HDEL', versions, field)
      end
    end
  end
  for _, node in ipairs(telling.fold_nodes) do
    redis.call('ZREM', seen, node)
    redis.call('SREM', left, node)
  end
end

local lapsed = telling.known and not redis.call('ZSCORE', seen, telling.node)
if not lapsed then
  for _, piece in ipairs(telling.pieces) do
    local field = telling.node .. '|' .. piece[1]
    version = version + 1
    redis.call('HSET', pieces, field, piece[2])
    redis.call('HSET', versions, field, version)
  end
  redis.call('HSET', versions, '~version', version)
  redis.call('ZADD', seen, now, telling.node)
  if telling.leaving then redis.call('SADD', left, telling.node) end
end

local told, behind_text = {}, ''
if telling.reads then
  local all = redis.call('HGETALL', versions)
  for i = 1, #all, 2 do
    if all[i] ~= '~version' and tonumber(all[i + 1]) > telling.since then
      local bar = string.find(all[i], '|', 1, true)
      local node = string.sub(all[i], 1, bar - 1)
      if node ~= telling.node then
        told[#told + 1] = { node, string.sub(all[i], bar + 1), redis.call('HGET', pieces, all[i]) }
      end
    end
  end
  if behind_version ~= telling.behind_version then behind_text = redis.call('HGET', behind, 'text') or '' end
end

local nodes = {}
local scores = redis.call('ZRANGE', seen, 0, -1, 'WITHSCORES')
for i = 1, #scores, 2 do
  nodes[#nodes + 1] = { scores[i], math.max(0, now - tonumber(scores[i + 1])), redis.call('SISMEMBER', left, scores[i]) == 1 }
end

for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, telling.keep_ms) end
return cmsgpack.pack({
  version = version, told = told, nodes = nodes, lapsed = lapsed, folded = folded,
  behind_version = behind_version, behind_text = behind_text,
})
