-- Push: telling the devices of those who are not there. Of what is sent to them the stream push has an entry:
--   u  the user                    p  '<epoch> <q>' of a message in their queue, q 0 where it is not known
--   e  a message's event           c, s  instead of it: the user has read a conversation up to a seq elsewhere
--   r, n, t  of what is tried again: the registration, how often it was tried, and since when
-- The set push:users has who has registered a device at all; while it has anybody, the field push of the epoch says so.
-- The hash unread:<user> has the conversations that may have something unread for the badge, each with the seq that was
-- pushed last, 0 for none. What is to be tried again waits in the sorted set push:retries; what was given up is in the
-- stream push:dead.

local ATTENTION = 60000      -- so long after a sign of the person themself nothing is pushed
local PUSH_LENGTH = 500000   -- entries of the stream, about: what no worker takes must not fill Redis
local DEAD_LENGTH = 10000    -- dead letters, about

local function push_message(user, epoch, q, event)
  redis.call('XADD', 'push', 'MAXLEN', '~', PUSH_LENGTH, '*', 'u', user, 'p', epoch .. ' ' .. q, 'e', event)
end

-- A user who has registered a device gets a message; an open laptop at which nobody sits keeps it from no phone.
local function push_to(user, queue_key, conv_key, epoch, q, event)
  redis.call('HSETNX', beside(queue_key, 'unread'), conv_key, '0')
  local here = redis.call('HGET', beside(queue_key, 'presence'), 'here')
  if not here or now_ms() - tonumber(here) >= ATTENTION then push_message(user, epoch, q, event) end
end

-- Pushes a message to those of its recipients who have registered a device: `places` as enqueue_among fills it. One
-- command for all of them. Nothing that is wrong with a push may keep the message from anybody.
local function push_among(places, conv_key, epoch, event)
  local users = {}
  for i = 1, #places, 2 do users[#users + 1] = places[i] end
  for _, absent in ipairs(places.absent) do users[#users + 1] = absent end
  if #users == 0 then return end
  for n, is_registered in ipairs(redis.call('SMISMEMBER', 'push:users', unpack(users))) do
    if is_registered == 1 then
      pcall(push_to, users[n], places.keys[users[n]], conv_key, epoch, places[2 * n] or 0, event)
    end
  end
end

-- Whether an event is a message, and who sent it.
local function message_sender(event)
  return string.match(event, '^{"mid":"%d+","ts":%d+,"seq":%d+,"type":"message","conv":"[^"]+","from":"([^"]+)"')
end

local MISSED = 20  -- messages that are pushed when somebody turns out to be gone, at most

-- The last lease of a user has ended: what no device acknowledged is pushed, since one that was there may have gone
-- long ago. What was pushed before is known to have been.
local function push_missed(user, record_key)
  if redis.call('SISMEMBER', 'push:users', user) == 0 then return end
  local queue_key, epoch = 'queue' .. string.sub(record_key, 9), redis.call('HGET', 'epoch', 'id')
  local handled
  for _, device in pairs(read_devices(beside(queue_key, 'user'))) do
    if device.epoch == epoch then handled = math.max(handled or 0, device.q) end
  end
  if not handled then return end
  local entries = redis.call('XREVRANGE', queue_key, '+', string.format('(0-%.0f', handled), 'COUNT', MISSED)
  for i = #entries, 1, -1 do
    local from = message_sender(entries[i][2][2])
    if from and from ~= user then push_message(user, epoch, string.sub(entries[i][1], 3), entries[i][2][2]) end
  end
end

-- A user has read a conversation up to a seq, of the last that it has: what was pushed of it is cleared elsewhere.
local function push_read(user, queue_key, conv_key, conv, seq, last)
  local unread_key = beside(queue_key, 'unread')
  local pushed = redis.call('HGET', unread_key, conv_key)
  if not pushed then return end
  if seq >= last then redis.call('HDEL', unread_key, conv_key) end
  if pushed ~= '0' and seq >= tonumber(pushed) then
    if seq < last then redis.call('HSET', unread_key, conv_key, '0') end
    redis.call('XADD', 'push', 'MAXLEN', '~', PUSH_LENGTH, '*', 'u', user, 'c', conv, 's', string.format('%.0f', seq))
  end
end

-- push_enrol: these users have registered a device, or have none any more.
-- KEYS push:users, epoch. ARGV '1' or '0', users.
redis.register_function{
  function_name = 'push_enrol_@VERSION@',
  flags = {'allow-oom'},
  callback = function(KEYS, ARGV)
    for i = 2, #ARGV do redis.call(ARGV[1] == '1' and 'SADD' or 'SREM', KEYS[1], ARGV[i]) end
    if redis.call('EXISTS', KEYS[1]) == 1 then
      redis.call('HSET', KEYS[2], 'push', '1')
    else
      redis.call('HDEL', KEYS[2], 'push')
    end
  end,
}

local BADGE = 200  -- conversations that a badge counts, at most

local function unread_of(user, unread_key)
  local total = 0
  for n, conv_key in ipairs(redis.call('HKEYS', unread_key)) do
    if n > BADGE then break end
    local have, joined = redis.call('HMGET', conv_key, 'seq', 'read:' .. user), nil
    if string.find(conv_key, ':g:', 1, true) then
      joined = redis.call('HGET', 'members' .. string.sub(conv_key, 5), user)
    end
    local floor = math.max(tonumber(have[2] or 0), tonumber(joined and string.match(joined, '^%d+') or 0))
    total = total + math.max(0, tonumber(have[1] or 0) - floor)
  end
  return total
end

-- push_look: how it stands with entries of the stream before they are sent. KEYS user, unread, conversation and bucket
-- of what was sent, of each entry. ARGV user, the number of registrations and what each is called in the
-- bucket, of each entry. Answers '<epoch> <q handled in it> <seq read> <badge> <1 or 0 for sent or not, of each>' each.
redis.register_function{
  function_name = 'push_look_@VERSION@',
  flags = {'no-writes'},
  callback = function(KEYS, ARGV)
    local epoch, result, at = redis.call('HGET', 'epoch', 'id') or '-', {}, 1
    for i = 1, #KEYS, 4 do
      local user, count, handled = ARGV[at], tonumber(ARGV[at + 1]), 0
      for _, device in pairs(read_devices(KEYS[i])) do
        if device.epoch == epoch then handled = math.max(handled, device.q) end
      end
      local read, sent = redis.call('HGET', KEYS[i + 2], 'read:' .. user), {}
      for n = 1, count do sent[n] = redis.call('HEXISTS', KEYS[i + 3], ARGV[at + 1 + n]) end
      result[#result + 1] = string.format('%s %.0f %s %.0f %s', epoch, handled, read or '0',
        unread_of(user, KEYS[i + 1]), table.concat(sent))
      at = at + 2 + count
    end
    return result
  end,
}

local SENT_KNOWN = 1200000  -- so long it is known what was sent

-- push_settle: what became of entries. KEYS push, push:retries, push:dead. ARGV steps, each with what it takes:
-- 'sent' bucket, name in it, unread, conversation, seq (0 for no message) · 'retry' due, number of fields, fields ·
-- 'dead' number of fields, fields · 'done' group, entry.
redis.register_function{
  function_name = 'push_settle_@VERSION@',
  flags = {'allow-oom'},
  callback = function(KEYS, ARGV)
    local at = 1
    local function fields_from(first)
      local count = tonumber(ARGV[first])
      at = first + 1 + count
      return {unpack(ARGV, first + 1, first + count)}
    end
    while at <= #ARGV do
      local step = ARGV[at]
      if step == 'sent' then
        redis.call('HSET', ARGV[at + 1], ARGV[at + 2], '')
        redis.call('PEXPIRE', ARGV[at + 1], SENT_KNOWN, 'NX')
        -- Where it was read meanwhile, nothing is left to clear.
        if ARGV[at + 5] ~= '0' and redis.call('HEXISTS', ARGV[at + 3], ARGV[at + 4]) == 1 then
          redis.call('HSET', ARGV[at + 3], ARGV[at + 4], ARGV[at + 5])
        end
        at = at + 6
      elseif step == 'retry' then
        local due = ARGV[at + 1]
        redis.call('ZADD', KEYS[2], due, cjson.encode(fields_from(at + 2)))
      elseif step == 'dead' then
        redis.call('XADD', KEYS[3], 'MAXLEN', '~', DEAD_LENGTH, '*', unpack(fields_from(at + 1)))
      else
        redis.call('XACK', KEYS[1], ARGV[at + 1], ARGV[at + 2])
        redis.call('XDEL', KEYS[1], ARGV[at + 2])
        at = at + 3
      end
    end
  end,
}

-- push_due: puts back into the stream what is to be tried again by now. KEYS push, push:retries. ARGV how many at most.
-- Answers how many.
redis.register_function{
  function_name = 'push_due_@VERSION@',
  flags = {'allow-oom'},
  callback = function(KEYS, ARGV)
    local due = redis.call('ZRANGE', KEYS[2], '-inf', now_ms(), 'BYSCORE', 'LIMIT', 0, ARGV[1])
    for _, member in ipairs(due) do
      redis.call('XADD', KEYS[1], 'MAXLEN', '~', PUSH_LENGTH, '*', unpack(cjson.decode(member)))
      redis.call('ZREM', KEYS[2], member)
    end
    return #due
  end,
}

-- push_replay: puts dead letters back into the stream as if they were new. KEYS push, push:dead. ARGV their ids.
-- Answers how many there were.
redis.register_function{
  function_name = 'push_replay_@VERSION@',
  callback = function(KEYS, ARGV)
    local count = 0
    for _, id in ipairs(ARGV) do
      local entry = redis.call('XRANGE', KEYS[2], id, id)[1]
      if entry then
        local fields, kept = entry[2], {}
        for i = 1, #fields, 2 do
          if not string.find('ntw', fields[i], 1, true) then
            kept[#kept + 1], kept[#kept + 2] = fields[i], fields[i + 1]
          end
        end
        redis.call('XADD', KEYS[1], '*', unpack(kept))
        redis.call('XDEL', KEYS[2], id)
        count = count + 1
      end
    end
    return count
  end,
}
