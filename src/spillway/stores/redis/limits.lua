-- One sync of one holder of one key's limits: takes its report, gives it leases. Atomic; the time is Redis's own.
--
-- KEYS[1]  hash: what was sent by sub-slot, what is held by holder, and the sums of both
-- KEYS[2]  sorted set: holders by the time of their last sync
-- ARGV[1]  MessagePack of the sync, see `Sync` in strict.py
--
-- What is held counts in every window. What was sent counts from the sub-slot of the report, which is never before the
-- send, until that slot and one more have left the window. A holder that is silent for `silent_ms` is taken to have
-- sent all it held just then. A store that is new, or another than before, lets nobody through for a whole window.

local sync = cmsgpack.unpack(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local hash, holders = KEYS[1], KEYS[2]

local function number(field)
  return tonumber(redis.call('HGET', hash, field) or 0)
end

local function add(field, amount)
  if amount ~= 0 then redis.call('HINCRBY', hash, field, amount) end
end

local born = redis.call('HMGET', hash, 'born', 'run')
if not born[1] or born[2] ~= sync.run then
  redis.call('HSET', hash, 'born', now, 'run', sync.run)
  born[1] = now
end
local ready_in = math.max(0, tonumber(born[1]) + sync.window_ms - now)

-- The two windows of each dimension: the minute, and the burst's where it is shorter.
local function slot_of(width)
  return math.floor(now / width)
end

local windows = { { prefix = 'm', width = sync.width_ms, span = sync.window_ms } }
if sync.burst_ms > 0 then
  windows[2] = { prefix = 'b', width = sync.burst_width_ms, span = sync.burst_ms }
end
for _, window in ipairs(windows) do
  window.slot = slot_of(window.width)
  window.last_dead = math.floor((now - window.span) / window.width) - 2
  local tail_field = window.prefix .. 't'
  local tail = tonumber(redis.call('HGET', hash, tail_field) or window.slot)
  if tail <= window.last_dead then
    local newest = number(window.prefix .. 'n')
    for slot = tail, math.min(window.last_dead, newest) do
      for _, d in ipairs(sync.dims) do
        local field = window.prefix .. d.i .. ':' .. slot
        local amount = redis.call('HGET', hash, field)
        if amount then
          redis.call('HDEL', hash, field)
          add(window.prefix .. 'u' .. d.i, -tonumber(amount))
        end
      end
    end
    tail = window.last_dead + 1
  end
  redis.call('HSET', hash, tail_field, tail)
  window.tail = tail
end

local function count_sent(i, amount)
  if amount == 0 then return end
  for _, window in ipairs(windows) do
    add(window.prefix .. i .. ':' .. window.slot, amount)
    add(window.prefix .. 'u' .. i, amount)
    redis.call('HSET', hash, window.prefix .. 'n', window.slot)
  end
end

local function end_holder(holder)
  for _, d in ipairs(sync.dims) do
    local held = number('h' .. d.i .. ':' .. holder)
    redis.call('HDEL', hash, 'h' .. d.i .. ':' .. holder)
    add('H' .. d.i, -held)
    count_sent(d.i, held)
  end
  add('C', -number('c:' .. holder))
  redis.call('HDEL', hash, 'c:' .. holder)
  redis.call('ZREM', holders, holder)
end

for _, holder in ipairs(redis.call('ZRANGEBYSCORE', holders, '-inf', now - sync.silent_ms)) do
  end_holder(holder)
end

-- The report.
local known = redis.call('ZSCORE', holders, sync.holder)
local lapsed = sync.known and not known
for _, d in ipairs(sync.dims) do
  if not sync.known then
    -- A holder that begins anew: what it has taken and not sent counts as held by its new name too.
    add('h' .. d.i .. ':' .. sync.holder, d.claim)
    add('H' .. d.i, d.claim)
  end
  if not lapsed then
    local gone = d.sent + d.back
    add('h' .. d.i .. ':' .. sync.holder, -gone)
    add('H' .. d.i, -gone)
  end
  count_sent(d.i, d.sent + d.late)
  for _, given in ipairs(d.given or {}) do
    -- {minute slot, burst slot, amount}
    for w, window in ipairs(windows) do
      if given[w] >= window.tail then
        local field = window.prefix .. d.i .. ':' .. given[w]
        local there = number(field)
        local less = math.min(there, given[3])
        add(field, -less)
        add(window.prefix .. 'u' .. d.i, -less)
      end
    end
  end
end
if not sync.known then
  add('c:' .. sync.holder, sync.seats_claimed)
  add('C', sync.seats_claimed)
end
if not lapsed then
  add('c:' .. sync.holder, -sync.freed)
  add('C', -sync.freed)
end

if sync.blocked_ms > 0 then
  local till = now + sync.blocked_ms
  if till > number('blocked') then redis.call('HSET', hash, 'blocked', till) end
end
local blocked_in = math.max(0, number('blocked') - now)

-- The leases.
redis.call('ZADD', holders, now, sync.holder)
local others = redis.call('ZCARD', holders)
local wait = 0
local fits = not lapsed and ready_in == 0 and blocked_in == 0 and not sync.leaving
local grants, used, held = {}, {}, {}

local function free_at(window, i, need)
  -- When `need` of what was sent has left the window; -1 when there is not so much.
  local gone = 0
  for slot = window.tail, window.slot do
    gone = gone + number(window.prefix .. i .. ':' .. slot)
    if gone >= need then return (slot + 2) * window.width + window.span + 1 - now end
  end
  return -1
end

local asks = false
for n, d in ipairs(sync.dims) do
  held[n] = number('H' .. d.i)
  used[n] = number('mu' .. d.i)
  grants[n] = 0
  if d.need > 0 then asks = true end
  local room = nil
  for w, window in ipairs(windows) do
    local ceiling = w == 1 and d.ceiling or d.burst_ceiling
    local counted = held[n] + number(window.prefix .. 'u' .. d.i)
    local left = ceiling - counted
    if counted == 0 and d.need <= d.limit then left = math.max(left, d.need) end
    room = room and math.min(room, left) or left
    if d.need > 0 and left < d.need then
      fits = false
      local at = -1
      if held[n] + d.need <= ceiling then at = free_at(window, d.i, counted + d.need - ceiling) end
      if at < 0 or wait < 0 then wait = -1 else wait = math.max(wait, at) end
    end
  end
  local share = math.floor(room / others)
  grants[n] = math.max(d.need, math.min(d.want, share))
end
local seats = 0
if sync.seats_needed > 0 then asks = true end
if sync.concurrent > 0 and sync.seats_needed > 0 then
  local left = sync.concurrent - number('C')
  if left < sync.seats_needed then
    fits = false
    wait = -1
  else
    seats = math.max(sync.seats_needed, math.min(sync.seats_wanted, math.floor(left / others)))
  end
end
if not fits or not asks then
  for n in ipairs(sync.dims) do grants[n] = 0 end
  seats = 0
end
for n, d in ipairs(sync.dims) do
  add('h' .. d.i .. ':' .. sync.holder, grants[n])
  add('H' .. d.i, grants[n])
  held[n] = held[n] + grants[n]
end
add('c:' .. sync.holder, seats)
add('C', seats)
if sync.leaving then end_holder(sync.holder) end

local keep = 2 * sync.window_ms + sync.silent_ms + 60000
redis.call('PEXPIRE', hash, keep)
redis.call('PEXPIRE', holders, keep)
return cmsgpack.pack({
  lapsed = lapsed, ready_in = ready_in, blocked_in = blocked_in, wait = wait, grants = grants, seats = seats,
  used = used, held = held, in_flight = number('C'), holders = others,
  slots = { windows[1].slot, windows[2] and windows[2].slot or 0 },
})
