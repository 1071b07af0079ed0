-- One sync of one process of a budget that several share: takes what it spent, gives it leases and what others spent.
-- Atomic; the time is Redis's own. Its twin in Python is stores/commons/budgets.py.
--
-- KEYS[1]  hash: `b<window>:<slot>` spent before this life of the store, `a<window>:<slot>` since; `u<window>` the sums;
--          `h:<holder>` held, turn, batch and life of a holder, `H` the sum of what is held;
--          `x:<holder>` the same of one that was silent, and the fine slot in which that became spend;
--          `life`, `run`, `born`, `bare`, `kept`, `basis`, `version`, `starving`; `seeds`; `j:<journal>`
-- KEYS[2]  sorted set: holders by the time of their last sync
-- KEYS[3]  sorted set: `<window>:<slot>` by the version of its last change
-- KEYS[4]  sorted set: silent holders by the time they were given up
-- ARGV[1]  MessagePack of the sync, see `BudgetSync` in money.py

local GHOST, GONE_MS, STARVING_MS = '~', 86400000, 400
local BASE = 1000000000

local sync = cmsgpack.unpack(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local facts, nodes, changes, gone = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local fine = math.floor(now / sync.widths_ms[1])

-- Money: { billions, rest } of pico-USD, because a number of Lua's is exact to 2^53 only.
local function money(digits)
  if not digits then return { 0, 0 } end
  if #digits <= 9 then return { 0, tonumber(digits) } end
  return { tonumber(string.sub(digits, 1, -10)), tonumber(string.sub(digits, -9)) }
end
local function plus(a, b)
  local rest = a[2] + b[2]
  local carry = rest >= BASE and 1 or 0
  return { a[1] + b[1] + carry, rest - carry * BASE }
end
local function minus(a, b)
  local rest = a[2] - b[2]
  local carry = rest < 0 and 1 or 0
  return { a[1] - b[1] - carry, rest + carry * BASE }
end
local function less(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end
local function least(a, b) if less(b, a) then return b end return a end
local function most(a, b) if less(a, b) then return b end return a end
local NONE = { 0, 0 }
local function digits(a)
  if a[1] == 0 then return string.format('%.0f', a[2]) end
  return string.format('%.0f%09.0f', a[1], a[2])
end
local function part(a, n)
  local whole = math.floor(a[1] / n)
  return { whole, math.floor(((a[1] - whole * n) * BASE + a[2]) / n) }
end

local function get(field) return money(redis.call('HGET', facts, field)) end
local function set(field, a) redis.call('HSET', facts, field, digits(a)) end
local function add(field, a) set(field, plus(get(field), a)) end
local function lessen(field, a) set(field, most(NONE, minus(get(field), a))) end
local function fact(field) return redis.call('HGET', facts, field) or nil end
local function note(field, value) redis.call('HSET', facts, field, value) end

local changed = {}
local function counts(window, slot)
  return slot >= math.floor(now / sync.widths_ms[window]) - sync.slots[window]
end
local function slots_of(at)
  local found, start = {}, math.min(at, fine) * sync.widths_ms[1]
  for window, width in ipairs(sync.widths_ms) do
    local slot = math.floor(start / width)
    if counts(window, slot) then found[#found + 1] = { window, string.format('%.0f:%.0f', window, slot) } end
  end
  return found
end
local function spend(at, a)
  if not less(NONE, a) then return end
  for _, slot in ipairs(slots_of(at)) do
    add('a' .. slot[2], a)
    add('u' .. slot[1], a)
    changed[slot[2]] = true
  end
end

-- A store that is empty or was restarted begins another life.
if not fact('life') or fact('run') ~= sync.run then
  note('bare', fact('life') and 0 or 1)
  for _, member in ipairs(redis.call('ZRANGE', changes, 0, -1)) do
    add('b' .. member, get('a' .. member))
    redis.call('HDEL', facts, 'a' .. member)
  end
  redis.call('HDEL', facts, 'seeds')
  local kept = fact('life') and (fact('version') or 0) or -1
  redis.call('HSET', facts, 'kept', kept, 'basis', -1, 'run', sync.run, 'born', string.format('%.0f', now),
    'life', string.format('%s:%.0f', sync.run, now))
end
local life, born = fact('life'), tonumber(fact('born'))
local ready_in = math.max(0, born + sync.settle_ms - now)

-- What has left its window, and who is gone for long.
for _, member in ipairs(redis.call('ZRANGE', changes, 0, -1)) do
  local window, slot = string.match(member, '^(%d+):(%d+)$')
  if not counts(tonumber(window), tonumber(slot)) then
    lessen('u' .. window, plus(get('a' .. member), get('b' .. member)))
    redis.call('HDEL', facts, 'a' .. member, 'b' .. member)
    redis.call('ZREM', changes, member)
  end
end
for _, name in ipairs(redis.call('ZRANGEBYSCORE', gone, '-inf', now - GONE_MS)) do
  redis.call('ZREM', gone, name)
  redis.call('HDEL', facts, 'x:' .. name)
end

-- Holders: { held, turn, batch, life }, and the fine slot of one that is gone.
local function holder_at(field)
  local packed = redis.call('HGET', facts, field)
  return packed and cmsgpack.unpack(packed) or nil
end
local function keep(name, holder) note('h:' .. name, cmsgpack.pack(holder)) end
local function hold(holder, a)
  lessen('H', money(holder[1]))
  add('H', a)
  holder[1] = digits(a)
end
local function lapse(name, for_good)
  local holder = holder_at('h:' .. name)
  redis.call('HDEL', facts, 'h:' .. name)
  redis.call('ZREM', nodes, name)
  if not holder then return end
  local held = holder[1]
  lessen('H', money(held))
  spend(fine, money(held))
  if name ~= GHOST and not for_good then
    holder[5] = fine
    note('x:' .. name, cmsgpack.pack(holder))
    redis.call('ZADD', gone, now, name)
  end
end
for _, name in ipairs(redis.call('ZRANGEBYSCORE', nodes, '-inf', now - sync.silent_ms)) do lapse(name) end

local me = holder_at('h:' .. sync.holder)
if not me then
  local back = holder_at('x:' .. sync.holder)
  me = back or { '0', 0, 0, '' }
  if sync.turn > me[2] and back then
    -- It was only silent: what had become spend is what it held once more.
    for _, slot in ipairs(less(NONE, money(me[1])) and slots_of(me[5]) or {}) do
      local rest = money(me[1])
      for _, kind in ipairs({ 'a', 'b' }) do
        local there = least(rest, get(kind .. slot[2]))
        lessen(kind .. slot[2], there)
        lessen('u' .. slot[1], there)
        rest = minus(rest, there)
      end
      changed[slot[2]] = true
    end
    add('H', money(me[1]))
    me[5] = nil
    redis.call('HDEL', facts, 'x:' .. sync.holder)
    redis.call('ZREM', gone, sync.holder)
  end
end
local function stay()
  for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, sync.keep_ms) end
end
if sync.turn <= me[2] then
  stay()
  return cmsgpack.pack({ late = true })
end
me[2] = sync.turn

-- What it says it holds; what it first says in a life was perhaps known from others.
local held = money(sync.held)
local ghost = holder_at('h:' .. GHOST)
if me[4] ~= life then
  me[4] = life
  local more = minus(held, money(me[1]))
  if ghost and less(NONE, more) then
    hold(ghost, most(NONE, minus(money(ghost[1]), more)))
    keep(GHOST, ghost)
  end
end
hold(me, held)

-- What it remembers of earlier lives, unless the store itself remembers as much.
if type(sync.view) == 'table' then note('bare', 0) end
local version = tonumber(fact('version') or 0)
if type(sync.view) == 'table' and sync.view_at > tonumber(fact('kept')) then
  version = math.max(version, sync.view_at)
  note('version', string.format('%.0f', version))
  for _, row in ipairs(sync.view) do
    local member, told = string.format('%.0f:%.0f', row[1], row[2]), money(row[3])
    if counts(row[1], row[2]) and less(get('b' .. member), told) then
      add('u' .. row[1], minus(told, get('b' .. member)))
      set('b' .. member, told)
      changed[member] = true
    end
  end
  if sync.heard_at > tonumber(fact('basis')) then
    note('basis', string.format('%.0f', sync.heard_at))
    local known = minus(get('H'), held)
    if ghost then known = minus(known, money(ghost[1])) end
    local missing = most(NONE, minus(money(sync.others), known))
    if ghost or less(NONE, missing) then
      if not ghost then redis.call('ZADD', nodes, now, GHOST) end
      ghost = ghost or { '0', 0, 0, '' }
      hold(ghost, missing)
      keep(GHOST, ghost)
    end
  end
end

if sync.batch > me[3] then
  me[3] = sync.batch
  for _, row in ipairs(sync.spent) do spend(row[1] < 0 and fine or row[1], money(row[2])) end
end

-- What files remember of a store that nobody else does, each file once.
local seeds = fact('seeds')
if type(sync.past) == 'table' and sync.journal ~= '' then
  local rows = {}
  for _, row in ipairs(sync.past) do
    local at = now - row[1]
    if at <= born then rows[#rows + 1] = { math.floor(at / sync.widths_ms[1]), row[2] } end
  end
  local known = seeds and cmsgpack.unpack(seeds) or {}
  known[sync.journal] = rows
  seeds = cmsgpack.pack(known)
  note('seeds', seeds)
end
if seeds and ready_in == 0 then
  for journal, rows in pairs(fact('bare') == '1' and cmsgpack.unpack(seeds) or {}) do
    if not fact('j:' .. journal) then
      note('j:' .. journal, 1)
      for _, row in ipairs(rows) do spend(row[1], money(row[2])) end
    end
  end
  redis.call('HDEL', facts, 'seeds')
end

redis.call('ZADD', nodes, now, sync.holder)
local holders = redis.call('ZCARD', nodes)

-- The lease.
local grant, need, want = NONE, money(sync.need), money(sync.want)
local room = nil
for window, cap in ipairs(sync.caps) do
  if cap ~= '' then
    local left = minus(money(cap), get('u' .. window))
    room = room and least(room, left) or left
  end
end
local starving = tonumber(fact('starving') or 0)
if room and ready_in == 0 and less(NONE, want) and not sync.leaving then
  local free = minus(room, get('H'))
  if less(free, need) then
    if not less(minus(room, held), need) then
      starving = now + STARVING_MS
      note('starving', string.format('%.0f', starving))
    end
  else
    local share = NONE
    if starving <= now then share = part(most(NONE, free), 2 * holders) end
    grant = most(need, least(want, share))
  end
end
hold(me, plus(held, grant))
keep(sync.holder, me)
if sync.leaving then lapse(sync.holder, true) end

if next(changed) then
  version = version + 1
  note('version', string.format('%.0f', version))
  for member in pairs(changed) do redis.call('ZADD', changes, version, member) end
end
local told = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', changes, '(' .. string.format('%.0f', sync.since), '+inf')) do
  local window, slot = string.match(member, '^(%d+):(%d+)$')
  told[#told + 1] = { tonumber(window), tonumber(slot), digits(plus(get('a' .. member), get('b' .. member))) }
end

stay()
return cmsgpack.pack({
  now = now, life = life, version = version, ready_in = ready_in, told = told, held = digits(get('H')),
  grant = digits(grant), starving = starving > now,
})
