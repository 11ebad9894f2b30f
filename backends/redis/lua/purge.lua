-- ARGV: the time before which events died, how many to remove at most. Answer: how many were removed.
local members = redis.call('ZRANGEBYLEX', SETS.d, '-', '(' .. ARGV[1], 'LIMIT', 0, ARGV[2])
local ids, events = load_members(members)
for _, event in pairs(events) do
  event.state = nil
end
save(ids, events)
return #ids
