-- One sync of one node with the notices that nodes post to all others: takes its posts and answers, gives what is new.
--
-- KEYS[1]  hash: number -> a notice's text; `at:number` -> when it was posted; `of:number` -> its id; `id:id` -> its number;
--          `~number` -> the newest
-- KEYS[2]  sorted set: numbers of notices by the time of their posting
-- KEYS[3]  hash: `number|node` -> an answer's text
-- KEYS[4]  sorted set: nodes by the time of their last sync
-- KEYS[5]  hash: name of a standing notice -> its number
-- ARGV[1]  MessagePack of the sync, see `Asking` in notices.py

local asking = cmsgpack.unpack(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local notices, times, answers, nodes, standing = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

redis.call('ZREMRANGEBYSCORE', nodes, '-inf', now - asking.silent_ms)
if asking.since < 0 and redis.call('ZCARD', nodes) == 0 then redis.call('DEL', standing) end

local stands, names = {}, redis.call('HGETALL', standing)
for i = 1, #names, 2 do stands[names[i + 1]] = names[i] end

local function drop(number)
  local id = redis.call('HGET', notices, 'of:' .. number)
  redis.call('HDEL', notices, number, 'at:' .. number, 'of:' .. number, 'id:' .. id)
  redis.call('ZREM', times, number)
end

for _, number in ipairs(redis.call('ZRANGEBYSCORE', times, '-inf', now - asking.notice_ms)) do
  if not stands[number] then
    drop(number)
    for _, field in ipairs(redis.call('HKEYS', answers)) do
      if string.sub(field, 1, #number + 1) == number .. '|' then redis.call('HDEL', answers, field) end
    end
  end
end

local last = tonumber(redis.call('HGET', notices, '~number') or 0)
local since = asking.since
if since > last then since = -1 end

local news = {}
if since < 0 then
  for number in pairs(stands) do
    news[#news + 1] = { tonumber(number), now - tonumber(redis.call('HGET', notices, 'at:' .. number)), redis.call('HGET', notices, number), true }
  end
else
  for number = since + 1, last do
    local text = redis.call('HGET', notices, number)
    if text then news[#news + 1] = { number, now - tonumber(redis.call('HGET', notices, 'at:' .. number)), text, false } end
  end
end

local posted = {}
for n, post in ipairs(asking.posts) do
  local number = redis.call('HGET', notices, 'id:' .. post[1])
  if not number then
    last = last + 1
    number = tostring(last)
    redis.call('HSET', notices, number, post[3], 'at:' .. number, now, 'id:' .. post[1], number, 'of:' .. number, post[1], '~number', last)
    redis.call('ZADD', times, now, number)
    if post[2] ~= '' then redis.call('HSET', standing, post[2], number) end
  end
  posted[n] = tonumber(number)
end
for _, answer in ipairs(asking.answers) do
  redis.call('HSET', answers, string.format('%d|%s', answer[1], asking.node), answer[2])
end

local got = {}
if #asking.open > 0 then
  local all = redis.call('HGETALL', answers)
  for i = 1, #all, 2 do
    local number, node = string.match(all[i], '^(%d+)|(.*)$')
    for _, open in ipairs(asking.open) do
      if open == tonumber(number) then got[#got + 1] = { open, node, all[i + 1] } end
    end
  end
end

if asking.leaving then
  redis.call('ZREM', nodes, asking.node)
else
  redis.call('ZADD', nodes, now, asking.node)
end
local there = {}
local scores = redis.call('ZRANGE', nodes, 0, -1, 'WITHSCORES')
for i = 1, #scores, 2 do there[#there + 1] = { scores[i], math.max(0, now - tonumber(scores[i + 1])) } end

for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, asking.keep_ms) end
return cmsgpack.pack({ last = last, news = news, posted = posted, got = got, nodes = there })
