-- What every script begins with: how events are stored, and how a batch of them is read and written.
--
-- KEYS[1..3]  sorted sets of the waiting, the claimed and the dead. A member is a time followed by an
--             id; all scores are 0, so that the order is that of the bytes. The time is the due, the
--             end of the lease, the time of death.
-- KEYS[4]     hash of records by id. A record is
--             time 18 bytes, state 1, lost 1, attempt 10, core, note.
--             Core: length of the rest 3, trigger time 18, created 18, trigger type.
--             Note: token 16 and owner of a claimed event, the reason of a dead one.
-- KEYS[5]     hash of payloads by id.
-- KEYS[6]     hash of what is known of the store itself; see open.lua.
--
-- Times are microseconds since year 1 in 18 digits. They stay strings, because the numbers of Lua are
-- doubles, which count microseconds exactly for 285 years only.

local SETS = {w = KEYS[1], c = KEYS[2], d = KEYS[3]}
local RECORDS, PAYLOADS = KEYS[4], KEYS[5]
local sub = string.sub

-- Whether `a` sorts before `b`, byte by byte; Lua's own < asks the locale of the server, which may be
-- trusted with digits only.
local function precedes(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then
      return x < y
    end
  end
  return #a < #b
end

-- The first `limit` members of two sorted lists, in order.
local function merge(a, b, limit)
  local members, i, j = {}, 1, 1
  while #members < limit and (a[i] or b[j]) do
    if a[i] and not (b[j] and precedes(b[j], a[i])) then
      members[#members + 1], i = a[i], i + 1
    else
      members[#members + 1], j = b[j], j + 1
    end
  end
  return members
end

-- Every `step`-th argument from `first` on.
local function arguments(first, step)
  local values = {}
  for i = first, #ARGV, step do
    values[#values + 1] = ARGV[i]
  end
  return values
end

-- What a record says; nil if it is none, because somebody else has written it.
local function parse(record)
  local time, state = sub(record, 1, 18), sub(record, 19, 19)
  local attempt = tonumber(sub(record, 21, 30))
  local core_end = string.find(record, '^%d%d%d', 31) and 33 + tonumber(sub(record, 31, 33))
  if not (SETS[state] and attempt and attempt >= 0 and core_end and 69 <= core_end and core_end <= #record) then
    return nil
  end
  return {
    time = time,
    state = state,
    lost = sub(record, 20, 20) == '1',
    attempt = attempt,
    core = sub(record, 31, core_end),
    note = sub(record, core_end + 1),
    -- As stored, while the above may change:
    record = record,
    stored_time = time,
    stored_state = state,
  }
end

local function format(event)
  local lost, attempt = event.lost and '1' or '0', string.format('%010d', event.attempt)
  return event.time .. event.state .. lost .. attempt .. event.core .. event.note
end

-- The events with these ids, by id. Absent ones are there without a state; whoever gives them one adds
-- them, and whoever takes the state of another removes it.
local function load(ids)
  local events = {}
  if #ids > 0 then
    local records = redis.call('HMGET', RECORDS, unpack(ids))
    for i, id in ipairs(ids) do
      events[id] = events[id] or records[i] and assert(parse(records[i]), 'a record cannot be read') or {}
    end
  end
  return events
end

local function state_of(member)
  for state, key in pairs(SETS) do
    if #redis.call('ZRANGEBYLEX', key, '[' .. member, '[' .. member) > 0 then
      return state
    end
  end
end

-- In the place of a record that is none, because somebody else has written it.
local function stand_in(member, record)
  local event = parse(sub(member, 1, 18) .. state_of(member) .. string.rep('0', 11) .. '036' .. string.rep('0', 36))
  event.unreadable = 'somebody else wrote this record: ' .. record
  return event
end

-- The ids of these members of the sorted sets, and the events. That those are there is looked at here,
-- because nothing ends well where somebody has removed half of them.
local function load_members(members)
  local ids, events = {}, {}
  for i, member in ipairs(members) do
    ids[i] = sub(member, 19)
  end
  local records = #ids > 0 and redis.call('HMGET', RECORDS, unpack(ids))
  for i, id in ipairs(ids) do
    local record = assert(records[i], 'an event has no record')
    events[id] = events[id] or parse(record) or stand_in(members[i], record)
  end
  return ids, events
end

-- Call one command for all, or not at all. Batches are kept below what `unpack` can do (some 8,000).
local function each(command, key, values)
  if #values > 0 then
    redis.call(command, key, unpack(values))
  end
end

-- Write what was changed of `events`, which `load(ids)` returned; `event.payload` is a new payload.
-- Removals come first, because a server whose memory is full lets a script go on that has begun with one.
local function save(ids, events)
  local left = {w = {}, c = {}, d = {}}
  local entered = {w = {}, c = {}, d = {}}
  local gone, records, payloads = {}, {}, {}
  for _, id in ipairs(ids) do
    local event = events[id]
    local time, state, stored_state = event.time, event.state, event.stored_state
    local record = state and format(event)
    if stored_state and (stored_state ~= state or event.stored_time ~= time) then
      local set = left[stored_state]
      set[#set + 1] = event.stored_time .. id
    end
    if state and (stored_state ~= state or event.stored_time ~= time) then
      local set = entered[state]
      set[#set + 1] = 0
      set[#set + 1] = time .. id
    end
    if stored_state and not state then
      gone[#gone + 1] = id
    end
    if record and record ~= event.record then
      records[#records + 1] = id
      records[#records + 1] = record
    end
    if state and event.payload then
      payloads[#payloads + 1] = id
      payloads[#payloads + 1] = event.payload
    end
    -- An id may stand in a batch twice.
    event.record, event.stored_time, event.stored_state, event.payload = record, time, state, nil
  end
  for state, key in pairs(SETS) do
    each('ZREM', key, left[state])
  end
  each('HDEL', RECORDS, gone)
  each('HDEL', PAYLOADS, gone)
  each('HSET', RECORDS, records)
  each('HSET', PAYLOADS, payloads)
  for state, key in pairs(SETS) do
    each('ZADD', key, entered[state])
  end
end

local function is_held(event, token, now)
  return event.state == 'c' and sub(event.note, 1, 16) == token and now < event.time
end
