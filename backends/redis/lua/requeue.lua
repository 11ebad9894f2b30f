-- ARGV: now, then ids. Answer: per id 1 if it was dead, else 0.
local now = ARGV[1]
local ids, results = arguments(2, 1), {}
local events = load(ids)
for i, id in ipairs(ids) do
  local event = events[id]
  if event.state == 'd' then
    event.state, event.time, event.attempt, event.note = 'w', now, 0, ''
    results[i] = 1
  else
    results[i] = 0
  end
end
save(ids, events)
return results
