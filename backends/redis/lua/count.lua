-- Answer: how many events wait, are claimed, are dead.
return {redis.call('ZCARD', SETS.w), redis.call('ZCARD', SETS.c), redis.call('ZCARD', SETS.d)}
