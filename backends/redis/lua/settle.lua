-- ARGV[1]: now. Per report: id, token, kind, due, text. Kinds are done; bury, whose text is the reason;
-- release and retry, which have a due; replace, a retry whose text is the new payload.
-- Answer: per report 1 if the claim was held, else 0.
local now = ARGV[1]
local ids, results = arguments(2, 5), {}
local events = load(ids)
for i, id in ipairs(ids) do
  local event, token, kind, due, text = events[id], unpack(ARGV, 5 * i - 2, 5 * i + 1)
  if not is_held(event, token, now) then
    results[i] = 0
  else
    results[i] = 1
    if kind == 'done' then
      event.state = nil
    elseif kind == 'bury' then
      event.state, event.time, event.note = 'd', now, text
    else
      event.state, event.time, event.note = 'w', due, ''
      if kind == 'release' then
        event.attempt = event.attempt - 1
      elseif kind == 'replace' then
        event.payload = text
      end
    end
  end
end
save(ids, events)
return results
