-- ARGV: the states to look at, of w, c and d; the least and the greatest member, as ZRANGEBYLEX takes
-- them; a trigger type or ''; how many members to look at; how many bytes of payloads at most (but always
-- one event). Answer: the last member that was looked at, or '' if there are no more, and of each event
-- of that type id, record and payload, in the order of the members.
local states, least, greatest, trigger_type = unpack(ARGV, 1, 4)
local limit, max_bytes = tonumber(ARGV[5]), tonumber(ARGV[6])
local lists = {{}, {}}
for i = 1, #states do
  local key = SETS[sub(states, i, i)]
  lists[i] = redis.call('ZRANGEBYLEX', key, least, greatest, 'LIMIT', 0, limit)
end
local members = merge(lists[1], lists[2], limit)
local ids = ids_of(members)
local events, answer, bytes = load(ids), {}, 0
for i, id in ipairs(ids) do
  local event = events[id]
  if trigger_type == '' or sub(event.core, 40) == trigger_type then
    local payload = redis.call('HGET', PAYLOADS, id)
    bytes = bytes + #payload
    local n = #answer
    if n > 0 and bytes > max_bytes then
      return {members[i - 1], answer}
    end
    answer[n + 1], answer[n + 2], answer[n + 3] = id, event.record, payload
  end
end
return {members[limit] or '', answer}
