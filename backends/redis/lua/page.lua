-- ARGV: the states to look at, of w, c and d; the least and the greatest member, as ZRANGEBYLEX takes
-- them; how many members to look at; how many bytes of payloads at most (but always one event); perhaps
-- a trigger type. Answer: the last member that was looked at, or '' if there are no more, and of each
-- event, if there is a type only of that type, id, record and payload, in the order of the members.
local states, least, greatest = ARGV[1], ARGV[2], ARGV[3]
local limit, max_bytes, trigger_type = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local lists = {{}, {}}
for i = 1, #states do
  local key = SETS[sub(states, i, i)]
  lists[i] = redis.call('ZRANGEBYLEX', key, least, greatest, 'LIMIT', 0, limit)
end
local members = merge(lists[1], lists[2], limit)
local ids, events = load_members(members)
local answer, bytes = {}, 0
for i, id in ipairs(ids) do
  local event = events[id]
  if not trigger_type or sub(event.core, 40) == trigger_type then
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
