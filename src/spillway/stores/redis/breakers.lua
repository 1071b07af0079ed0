-- One sync of one node of all circuits that it shares: takes what happened there, leases probes, tells what is new.
--
-- KEYS[1]  hash: circuit -> its `Record`, packed; `~version`, which numbers every change, state and probe
-- KEYS[2]  sorted set: circuits by the version of their last change
-- KEYS[3]  sorted set: nodes by the time of their last sync
-- ARGV[1]  MessagePack of the sync, see `BreakersSync` in breakers.py
--
-- What a node says of a state counts only if the store has that state still; an order counts if it is the newest. A
-- probe's lease ends with its verdict, when its node no longer names it or is silent, and when its time is over. What
-- the store has forgotten, or what a node went through without it, it learns from the node: the later end holds.

local sync = cmsgpack.unpack(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local circuits, changes, nodes = KEYS[1], KEYS[2], KEYS[3]
local FOREVER = 2 ^ 52

local stored = tonumber(redis.call('HGET', circuits, '~version') or 0)
local forgot = sync.since > stored
local version = math.max(stored, sync.since)

local function number()
  version = version + 1
  return version
end

local function after(at, ms)
  if ms >= FOREVER then return FOREVER end
  return at + ms
end

redis.call('ZREMRANGEBYSCORE', nodes, '-inf', now - sync.silent_ms)

local function load(key)
  local packed = redis.call('HGET', circuits, key)
  if packed then return cmsgpack.unpack(packed), true end
  return { gen = 0, state = 'closed', till = 0, opened = 0, failed = 0, reason = '', node = '', held = 0, proven = 0,
    probes = {}, order_at = 0, order_node = '', order_number = 0 }, false
end

local function enter(record, state, reason)
  record.gen = number()
  record.state = state
  record.reason = reason
  record.node = sync.node
  record.proven = 0
  record.probes = {}
  if state == 'closed' then record.failed = 0 end
end

local function close_when_proven(record, report)
  if record.state == 'half_open' and record.proven >= report.most then enter(record, 'closed', 'probes_succeeded') end
end

local function end_probe(record, probe)
  for i, p in ipairs(record.probes) do
    if p[1] == probe then
      table.remove(record.probes, i)
      return true
    end
  end
  return false
end

local function prune(record, report)
  local held, left = {}, {}
  for _, probe in ipairs(report.probes) do held[probe] = true end
  for _, said in ipairs(report.said) do
    if said[2] ~= 0 then held[said[2]] = true end
  end
  for _, p in ipairs(record.probes) do
    local lives = redis.call('ZSCORE', nodes, p[2])
    if p[3] > now and lives and (p[2] ~= sync.node or held[p[1]]) then left[#left + 1] = p end
  end
  local changed = #left ~= #record.probes
  record.probes = left
  return changed
end

local function order(record, said)
  local at = now - said[4]
  if record.order_node == sync.node and said[5] <= record.order_number then return false end
  if record.order_node ~= sync.node and at < record.order_at then return false end
  record.order_at, record.order_node, record.order_number = at, sync.node, said[5]
  if said[1] == 'force_open' then
    record.held = 0
    if record.state ~= 'open' then
      enter(record, 'open', 'forced_open')
      record.opened = at
    end
    record.till = after(at, said[3])
  elseif said[1] == 'force_close' then
    record.held = after(at, said[3])
    if record.state ~= 'closed' then enter(record, 'closed', 'forced_closed') end
  else
    record.held = 0
    record.opened = 0
    enter(record, 'closed', 'reset')
  end
  return true
end

local function happened(record, report, said)
  local kind, at = said[1], now - said[4]
  if kind == 'opened' and record.state == 'closed' and record.held <= now then
    enter(record, 'open', said[6])
    record.opened = at
    record.till = after(at, said[3])
  elseif kind == 'passed' and record.state == 'half_open' and end_probe(record, said[2]) then
    record.proven = record.proven + 1
    close_when_proven(record, report)
  elseif kind == 'failed' and record.state == 'half_open' and (said[2] == 0 or end_probe(record, said[2])) then
    record.failed = record.failed + 1
    enter(record, 'open', 'probe_failed')
    record.opened = at
    record.till = after(at, math.min(report.open_ms * 2 ^ math.min(record.failed, 64), report.longest_ms))
  else
    return false
  end
  return true
end

local function take_over(record, report, known)
  local till = now
  if report.state == 'open' then till = after(now, report.left_ms) end
  local held = report.held_ms > 0 and after(now, report.held_ms) or 0
  if not known and held > record.held then record.held = held end
  if report.state == 'closed' or record.held > now then return held > 0 end
  -- An operator's word has been weighed as such.
  if known and report.reason == 'forced_open' then return false end
  if record.state == 'open' then
    if till <= record.till then return false end
  elseif known and till <= now then
    return false
  else
    local failed = record.failed
    enter(record, 'open', report.reason)
    record.failed = failed
    record.opened = now - report.ago_ms
  end
  record.till = till
  record.failed = math.max(record.failed, report.failed)
  return true
end

local function lease(record, report)
  if record.state == 'open' and record.till <= now then enter(record, 'half_open', 'open_time_over') end
  if record.state ~= 'half_open' or record.proven + #record.probes >= report.most then return false end
  record.probes[#record.probes + 1] = { number(), sync.node, after(now, report.longest_ms) }
  return true
end

local told, seen = {}, {}
for _, report in ipairs(sync.reports) do
  local record, known = load(report.key)
  version = math.max(version, report.gen)
  local changed = prune(record, report)
  local fits = report.gen == record.gen
  for _, said in ipairs(report.said) do
    if said[5] > 0 then
      changed = order(record, said) or changed
    elseif fits then
      changed = happened(record, report, said) or changed
    end
  end
  if report.apart or report.gen > record.gen then changed = take_over(record, report, known) or changed end
  local gen = record.gen
  close_when_proven(record, report)
  if report.want and lease(record, report) then changed = true end
  if changed or record.gen ~= gen then
    redis.call('HSET', circuits, report.key, cmsgpack.pack(record))
    redis.call('ZADD', changes, number(), report.key)
  end
  seen[report.key] = true
  told[#told + 1] = { report.key, record }
end

for _, key in ipairs(redis.call('ZRANGEBYSCORE', changes, forgot and '-inf' or '(' .. sync.since, '+inf')) do
  if not seen[key] then told[#told + 1] = { key, (load(key)) } end
end

if sync.leaving then
  redis.call('ZREM', nodes, sync.node)
else
  redis.call('ZADD', nodes, now, sync.node)
end
redis.call('HSET', circuits, '~version', version)
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, sync.keep_ms) end
return cmsgpack.pack({ now = now, version = version, told = told })
