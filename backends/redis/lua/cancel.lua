-- ARGV: ids. Answer: per id cancelled, in_flight or not_found.
local events, outcomes = load(ARGV), {}
for i, id in ipairs(ARGV) do
  local event = events[id]
  if not event.state or event.state == 'd' then
    outcomes[i] = 'not_found'
  else
    outcomes[i] = (event.state == 'c' or event.lost) and 'in_flight' or 'cancelled'
    event.state = nil
  end
end
save(ARGV, events)
return outcomes
