-- ARGV[1]: the version of the layout that the caller knows. Answer: the version of the store, which is
-- the caller's if there was none.
--
-- Every command of the other scripts is tried out on every key of its kind, so that a right that is
-- missing, or a key that belongs to somebody else, is found now and not in the middle of a script.
for i = 1, 3 do
  redis.call('ZRANGE', KEYS[i], 0, 0)
  redis.call('ZRANGEBYLEX', KEYS[i], '-', '+', 'LIMIT', 0, 0)
  redis.call('ZCARD', KEYS[i])
  redis.call('ZADD', KEYS[i], 'XX', 0, '')
  redis.call('ZREM', KEYS[i], '')
end
for i = 4, 6 do
  redis.call('HMGET', KEYS[i], '')
  redis.call('HDEL', KEYS[i], '')
end
local version = redis.call('HGET', KEYS[6], 'version') or ARGV[1]
redis.call('HSET', KEYS[6], 'version', version)
return version
