-- ARGV: how many bytes of payloads at most (but always one event), then ids.
-- Answer: how many of the ids were looked at, and of each event that is there id, record and payload.
local max_bytes, ids = tonumber(ARGV[1]), arguments(2, 1)
local events, answer, bytes = load(ids), {}, 0
for i, id in ipairs(ids) do
  if events[id].state then
    local payload = redis.call('HGET', PAYLOADS, id)
    bytes = bytes + #payload
    if i > 1 and bytes > max_bytes then
      return {i - 1, answer}
    end
    local n = #answer
    answer[n + 1], answer[n + 2], answer[n + 3] = id, events[id].record, payload
  end
end
return {#ids, answer}
