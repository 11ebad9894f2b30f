-- ARGV: now, the new end of the leases. Per claim: id, token. Answer: per claim 1 if it was held, else 0.
local now, lease_until = ARGV[1], ARGV[2]
local ids, results = arguments(3, 2), {}
local events = load(ids)
for i, id in ipairs(ids) do
  local event = events[id]
  if is_held(event, ARGV[2 * i + 2], now) then
    results[i], event.time = 1, lease_until
  else
    results[i] = 0
  end
end
save(ids, events)
return results
