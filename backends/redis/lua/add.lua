-- ARGV[1]: what becomes of an event whose id is taken: refused, kept or replaced.
-- Per event: id, core, payload. Answer: per event added, or ARGV[1].

-- A server whose memory is full refuses this command, which does nothing, and with it the script.
redis.call('ZADD', SETS.w, 'XX', 0, '')

local if_taken = ARGV[1]
local ids, outcomes = arguments(2, 3), {}
local events = load(ids)
for i, id in ipairs(ids) do
  local event, core, payload = events[id], ARGV[3 * i], ARGV[3 * i + 1]
  if not event.state then
    outcomes[i] = 'added'
  elseif event.core == core and (event.payload or redis.call('HGET', PAYLOADS, id)) == payload then
    outcomes[i] = 'added' -- before; this is a repeat
  else
    outcomes[i] = if_taken
  end
  if not event.state or outcomes[i] == 'replaced' then
    event.lost = event.lost or event.state == 'c'
    event.time, event.state, event.attempt = sub(core, 4, 21), 'w', 0
    event.core, event.note, event.payload = core, '', payload
  end
end
save(ids, events)
return outcomes
