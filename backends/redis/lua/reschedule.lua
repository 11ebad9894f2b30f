-- Per move: id, new time or '', 1 if there is a new payload, that payload.
-- Answer: per move rescheduled, in_flight or not_found.
local ids, outcomes = arguments(1, 4), {}
local events = load(ids)
for i, id in ipairs(ids) do
  local event, time, has_payload, payload = events[id], unpack(ARGV, 4 * i - 2, 4 * i)
  if not event.state or event.state == 'd' then
    outcomes[i] = 'not_found'
  elseif event.state == 'c' or event.lost then
    outcomes[i] = 'in_flight'
  else
    outcomes[i] = 'rescheduled'
    if time ~= '' then
      event.time, event.core = time, sub(event.core, 1, 3) .. time .. sub(event.core, 22)
    end
    if has_payload == '1' then
      event.payload = payload
    end
  end
end
save(ids, events)
return outcomes
