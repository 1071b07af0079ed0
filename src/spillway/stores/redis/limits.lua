-- One sync of one holder of one key's limits: takes its report, gives it leases. Atomic; the time is Redis's own.
--
-- KEYS[1]  hash: `facts`, sums among them; `o:<holder>` what a holder has; `m<kind>:<slot>`, `b<kind>:<slot>` what was sent then
-- KEYS[2]  sorted set: holders by the time of their last sync
-- ARGV[1]  MessagePack of a `LeaseReport`, see lease_messages.py; the answer is a `LeaseAnswer`
--
-- What is held counts in every window. What was sent counts from the sub-slot in which it was sent until that slot and
-- one more have left the window. A holder that is silent for `lapse_ms` is taken to have sent all it held just then. A
-- store that may have forgotten something lets nobody through until what it forgot has left the window.

local report = cmsgpack.unpack(ARGV[1])
local hash, holders = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Held, sent in the minute and in the burst's span are h, m and b of each kind.
local function nothing_known()
  local state = {
    life = '', born = 0, last = 0, holders = 0, blocked = 0, cuts = 0, seats = 0, pressed = 0, span = 0, mtail = 0,
    mnewest = 0, btail = 0, bnewest = 0,
  }
  for kind = 0, 3 do
    for _, sum in ipairs({ 'h', 'm', 'b' }) do state[sum .. kind] = 0 end
  end
  return state
end

local facts = redis.call('HGET', hash, 'facts')
local state = facts and cmsgpack.unpack(facts) or nothing_known()

-- Is this what it was at the last sync of anybody?

local function forgets_nothing(section, pattern)
  local said = redis.pcall('INFO', section)
  if type(said) ~= 'string' then return false end
  for count in string.gmatch(said, pattern) do
    if count ~= '0' then return false end
  end
  return true
end

local function up_ms()
  -- How long it can't have forgotten anything.
  if not (forgets_nothing('stats', 'evicted_keys:(%d+)')
      and forgets_nothing('commandstats', 'cmdstat_flush%a+:calls=(%d+)')
      and forgets_nothing('commandstats', 'cmdstat_swapdb:calls=(%d+)')) then
    return 0
  end
  return math.max(0, (tonumber(string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)')) or 0) - 1) * 1000
end

local life = report.run .. ' ' .. report.window_ms
local restarted = facts and string.match(state.life, '^%S*') ~= report.run
if state.life ~= life or state.holders ~= redis.call('ZCARD', holders) or now < state.last - report.window_ms then
  redis.call('DEL', hash, holders)
  state = nothing_known()
  state.life, state.born = life, now
  if restarted or not (facts or report.met) then state.born = now - up_ms() end
end
now = math.max(now, state.last)
state.last = now
local closed_in = math.max(0, state.born + report.window_ms + report.lapse_ms - now)

-- The two windows of each kind of amount: the minute, and the burst's where that is shorter.

local windows = { { prefix = 'm', width = report.width_ms, span = report.window_ms } }
if report.burst_ms > 0 then
  windows[2] = { prefix = 'b', width = report.burst_width_ms, span = report.burst_ms }
end

local function field(window, kind, slot)
  return window.prefix .. kind .. ':' .. string.format('%.0f', slot)
end

local function remove_slots(prefix, first, last)
  if last < first then return end
  local fields, kinds = {}, {}
  for slot = first, last do
    for kind = 0, 3 do
      fields[#fields + 1] = prefix .. kind .. ':' .. string.format('%.0f', slot)
      kinds[#kinds + 1] = kind
    end
  end
  for at, amount in ipairs(redis.call('HMGET', hash, unpack(fields))) do
    if amount then
      local sum = prefix .. kinds[at]
      state[sum] = state[sum] - amount
    end
  end
  redis.call('HDEL', hash, unpack(fields))
end

local carried = {}
if state.span ~= report.burst_ms then
  -- Other slots from now on: what still counts in the old ones counts as of now.
  for kind = 0, 3 do carried[kind] = state['b' .. kind] end
  if state.btail > 0 then remove_slots('b', state.btail, state.bnewest) end
  for kind = 0, 3 do state['b' .. kind] = 0 end
  state.btail, state.bnewest, state.span = 0, 0, report.burst_ms
end
for _, window in ipairs(windows) do
  local tail, newest = window.prefix .. 'tail', window.prefix .. 'newest'
  local dead = math.floor((now - window.span) / window.width) - 2
  if state[tail] == 0 then state[tail] = dead + 1 end
  if state[tail] <= dead then
    remove_slots(window.prefix, state[tail], math.min(dead, state[newest]))
    state[tail] = dead + 1
  end
end

local function count(kind, amount, age)
  local slots = {}
  for at, window in ipairs(windows) do
    local slot = math.floor((now - age) / window.width)
    slots[at] = slot
    if amount ~= 0 and slot >= state[window.prefix .. 'tail'] then
      redis.call('HINCRBY', hash, field(window, kind, slot), amount)
      state[window.prefix .. kind] = state[window.prefix .. kind] + amount
      state[window.prefix .. 'newest'] = math.max(state[window.prefix .. 'newest'], slot)
    end
  end
  return slots
end

if windows[2] then
  for kind, amount in pairs(carried) do
    if amount > 0 then
      local slot = math.floor(now / windows[2].width)
      redis.call('HINCRBY', hash, field(windows[2], kind, slot), amount)
      state['b' .. kind], state.bnewest = amount, slot
    end
  end
end

-- Who is silent for too long has sent what it held.

local function end_holder(name)
  local packed = redis.call('HGET', hash, 'o:' .. name)
  if packed then
    local holder = cmsgpack.unpack(packed)
    for kind = 0, 3 do
      state['h' .. kind] = state['h' .. kind] - holder.held[kind + 1]
      count(kind, holder.held[kind + 1], 0)
    end
    state.seats = state.seats - holder.seats
    redis.call('HDEL', hash, 'o:' .. name)
  end
  state.holders = state.holders - redis.call('ZREM', holders, name)
end

for _, name in ipairs(redis.call('ZRANGEBYSCORE', holders, '-inf', now - report.lapse_ms)) do end_holder(name) end

-- The report.

local packed = redis.call('HGET', hash, 'o:' .. report.holder)
local holder = packed and cmsgpack.unpack(packed)
local lapsed = report.known and not holder
local again = holder and holder.number >= report.number
holder = holder or { number = 0, held = { 0, 0, 0, 0 }, seats = 0, slots = {}, granted = {}, seated = 0 }

local function hold(kind, amount)
  holder.held[kind + 1] = holder.held[kind + 1] + amount
  state['h' .. kind] = state['h' .. kind] + amount
end

local function seat(amount)
  holder.seats = holder.seats + amount
  state.seats = state.seats + amount
end

if not again then
  holder.number, holder.slots, holder.granted, holder.seated = report.number, {}, {}, 0
  for at, batch in ipairs(report.sent) do
    for kind = 0, 3 do holder.slots[at] = count(kind, batch[kind + 2], batch[1]) end
  end
  for _, given in ipairs(report.given) do
    for at, window in ipairs(windows) do
      local kind, slot = given[1], given[at + 2]
      if slot >= state[window.prefix .. 'tail'] then
        local there = tonumber(redis.call('HGET', hash, field(window, kind, slot)) or 0)
        local less = math.min(there, given[2])
        if less > 0 then
          redis.call('HINCRBY', hash, field(window, kind, slot), -less)
          state[window.prefix .. kind] = state[window.prefix .. kind] - less
        end
      end
    end
  end
  if not lapsed then
    for _, part in ipairs(report.parts) do hold(part.kind, part.claim - part.gone) end
    seat(report.seats_claimed - report.seats_gone)
  end
  if report.cut then state.cuts = state.cuts + 1 end
  state.blocked = math.max(state.blocked, report.blocked_ms > 0 and now + report.blocked_ms or 0)
end
local blocked_in = math.max(0, state.blocked - now)
if not lapsed then
  state.holders = state.holders + redis.call('ZADD', holders, now, report.holder)
end

-- The leases.

local function free_in(window, kind, amount)
  -- When so much of what was sent has left the window.
  local fields, tail = {}, state[window.prefix .. 'tail']
  for slot = tail, state[window.prefix .. 'newest'] do fields[#fields + 1] = field(window, kind, slot) end
  if #fields == 0 then return 0 end
  local gone = 0
  for at, there in ipairs(redis.call('HMGET', hash, unpack(fields))) do
    gone = gone + (tonumber(there) or 0)
    if gone >= amount then return math.max(0, math.ceil((tail + at + 1) * window.width + window.span) - now) end
  end
  return 0
end

-- -1: only what is given back makes room.
local wait, fits = 0, true
local function must_wait(milliseconds)
  fits = false
  if milliseconds < 0 or wait < 0 then wait = -1 else wait = math.max(wait, milliseconds) end
end

local function room_for(part)
  local room
  for at, window in ipairs(windows) do
    local ceiling = at == 1 and part.ceiling or part.burst_ceiling
    local held, sent = state['h' .. part.kind], state[window.prefix .. part.kind]
    local left = ceiling - held - sent
    if held + sent == 0 then left = math.max(left, part.need) end
    room = math.min(room or left, left)
    if left < part.need then
      if held > 0 and held + part.need > ceiling then
        must_wait(-1)
      else
        must_wait(free_in(window, part.kind, math.min(sent, part.need - left)))
      end
    end
  end
  return room
end

local open = not (again or lapsed or report.leaving) and closed_in == 0 and blocked_in == 0
local rooms = {}
if open then
  for at, part in ipairs(report.parts) do rooms[at] = room_for(part) end
  local left = report.concurrent - state.seats
  if report.seats_needed > 0 and left < report.seats_needed then must_wait(-1) end
  if fits then
    for at, part in ipairs(report.parts) do
      local share = math.floor((rooms[at] - part.need) / state.holders)
      holder.granted[at] = part.need + math.max(0, math.min(part.want - part.need, share))
      hold(part.kind, holder.granted[at])
    end
    local share = math.floor((left - report.seats_needed) / state.holders)
    holder.seated = report.seats_needed + math.max(0, math.min(report.seats_wanted - report.seats_needed, share))
    seat(holder.seated)
  else
    state.pressed = now + report.pressed_ms
  end
end

local held, used = {}, {}
for at, part in ipairs(report.parts) do
  held[at], used[at] = state['h' .. part.kind], state['m' .. part.kind]
end
local answer = {
  lapsed = lapsed or false, closed_in = closed_in, blocked_in = blocked_in, cuts = state.cuts, wait = wait,
  granted = holder.granted, seats = holder.seated, slots = holder.slots, used = used, held = held,
  in_flight = state.seats, holders = state.holders, pressed = now < state.pressed,
}

if not lapsed then redis.call('HSET', hash, 'o:' .. report.holder, cmsgpack.pack(holder)) end
if report.leaving then end_holder(report.holder) end
redis.call('HSET', hash, 'facts', cmsgpack.pack(state))
redis.call('PEXPIRE', hash, report.keep_ms)
redis.call('PEXPIRE', holders, report.keep_ms)
return cmsgpack.pack(answer)
