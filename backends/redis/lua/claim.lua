-- ARGV: due_before and now, each plus one microsecond; the end of the lease; how many events; how many
-- bytes of payloads at most (but always one event); the note of the claims: token and owner.
-- Answer: the first waiting and the first claimed member after this, or ''; the claimed events in order,
-- each as the member it was, its record and its payload; the ids of those that could not be read, which are
-- dead letters now.
local waiting_until, claimed_until, lease_until = ARGV[1], ARGV[2], ARGV[3]
local limit, max_bytes, note = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local waiting = redis.call('ZRANGEBYLEX', SETS.w, '-', '(' .. waiting_until, 'LIMIT', 0, limit)
local claimed = redis.call('ZRANGEBYLEX', SETS.c, '-', '(' .. claimed_until, 'LIMIT', 0, limit)
local members = merge(waiting, claimed, limit)
local ids, events = load_members(members)
local changed, places, buried, payloads, bytes = {}, {}, {}, {}, 0
for i, id in ipairs(ids) do
  local event = events[id]
  payloads[i] = redis.call('HGET', PAYLOADS, id)
  bytes = bytes + #payloads[i]
  if i > 1 and bytes > max_bytes then
    break
  end
  changed[i] = id
  if event.unreadable then
    buried[#buried + 1] = id
    event.time, event.state, event.note = claimed_until, 'd', event.unreadable
  else
    places[#places + 1] = i
    event.lost = event.lost or event.state == 'c'
    event.time, event.state, event.attempt, event.note = lease_until, 'c', event.attempt + 1, note
  end
end
save(changed, events)

local answer = {}
for n, i in ipairs(places) do
  answer[3 * n - 2], answer[3 * n - 1], answer[3 * n] = members[i], events[ids[i]].record, payloads[i]
end
return {
  redis.call('ZRANGE', SETS.w, 0, 0)[1] or '',
  redis.call('ZRANGE', SETS.c, 0, 0)[1] or '',
  answer,
  buried,
}
