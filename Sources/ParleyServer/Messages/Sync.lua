-- Sessions and their queues.

-- Head and first available position of a queue: (0, 1) when it never had an entry.
local function extent(queue_key)
  local info = redis.pcall('XINFO', 'STREAM', queue_key)
  if info.err then return '0', '1' end
  local head, first = '0', nil
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then head = string.sub(info[i + 1], 3) end
    if info[i] == 'first-entry' and info[i + 1] then first = string.sub(info[i + 1][1], 3) end
  end
  return head, first or string.format('%.0f', tonumber(head) + 1)
end

-- attach: a session begins. KEYS epoch, queue, user, revoked login.
-- ARGV user, device, session, '1' if the device keeps its place in the queue, cursor's epoch and q ('' without).
-- Answers epoch ('' for none), head, first available q, '1' if the login is revoked. Older sessions of the device
-- hear of it and close.
local DEVICE_LIMIT = 32

-- Room for one more device: the one not heard of for longest gives up its place in the queue.
local function forget_oldest_device(user_key)
  local fields, devices, oldest, oldest_seen = redis.call('HGETALL', user_key), 0, nil, math.huge
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 7) == 'device:' then
      devices = devices + 1
      local seen = tonumber(string.match(fields[i + 1], '(%d+)$'))
      if seen < oldest_seen then oldest, oldest_seen = fields[i], seen end
    end
  end
  if devices >= DEVICE_LIMIT then redis.call('HDEL', user_key, oldest) end
end

local function attach(KEYS, ARGV)
  local epoch = redis.call('HGET', KEYS[1], 'id') or ''
  local head, first = extent(KEYS[2])
  local revoked = redis.call('EXISTS', KEYS[4])
  if revoked == 1 or epoch == '' then return {epoch, head, first, tostring(revoked)} end
  redis.call('PUBLISH', 'user:' .. ARGV[1], '!replaced ' .. ARGV[2] .. ' ' .. ARGV[3])
  if ARGV[4] == '1' then
    local q = ARGV[5] == epoch and tonumber(ARGV[6]) or tonumber(head)
    local device = 'device:' .. ARGV[2]
    local known = redis.call('HGET', KEYS[3], device)
    if not known then forget_oldest_device(KEYS[3]) end
    local known_epoch, known_q = string.match(known or '', '^(%S+) (%d+) ')
    -- A device's place never goes back: what it has handled may be gone already.
    if known_epoch == epoch then q = math.max(q, tonumber(known_q)) end
    q = math.min(q, tonumber(head))
    redis.call('HSET', KEYS[3], device, string.format('%s %.0f %.0f', epoch, q, now_ms()))
  end
  return {epoch, head, first, tostring(revoked)}
end

-- Who cannot attach cannot ack either, and a full Redis would stay full.
redis.register_function{function_name = 'attach_@VERSION@', callback = attach, flags = {'allow-oom'}}

-- positions: heads of queues, and whether logins are revoked. KEYS epoch, then queue, revoked login by turns.
-- Answers epoch, then '<head> <revoked>' each.
redis.register_function{
  function_name = 'positions_@VERSION@',
  flags = {'no-writes'},
  callback = function(KEYS, ARGV)
    local result = {redis.call('HGET', KEYS[1], 'id') or ''}
    for i = 2, #KEYS, 2 do
      local id = last_id(KEYS[i])
      result[#result + 1] = string.sub(id, 3) .. ' ' .. redis.call('EXISTS', KEYS[i + 1])
    end
    return result
  end,
}

-- ack: a device has handled everything up to q; its queue is trimmed to the slowest device heard of in 30 days.
-- KEYS epoch, queue, user. ARGV epoch, device, q (never beyond what was written to the device). Answers how many
-- entries went.
redis.register_function{
  function_name = 'ack_@VERSION@',
  flags = {'allow-oom'},
  callback = function(KEYS, ARGV)
    local epoch = redis.call('HGET', KEYS[1], 'id')
    if epoch ~= ARGV[1] then return 0 end
    local now, q = now_ms(), tonumber(ARGV[3])
    local fields, slowest = redis.call('HGETALL', KEYS[3]), q
    for i = 1, #fields, 2 do
      local device = string.match(fields[i], '^device:(.*)$')
      local at_epoch, at, seen = string.match(fields[i + 1], '^(%S+) (%d+) (%d+)$')
      if device == ARGV[2] then
        if at_epoch == epoch then q = math.max(q, tonumber(at)) end
      elseif device and now - tonumber(seen) > 30 * DAY then
        redis.call('HDEL', KEYS[3], fields[i])
      elseif device then
        slowest = math.min(slowest, at_epoch == epoch and tonumber(at) or 0)
      end
    end
    redis.call('HSET', KEYS[3], 'device:' .. ARGV[2], string.format('%s %.0f %.0f', epoch, q, now))
    return redis.call('XTRIM', KEYS[2], 'MINID', string.format('0-%.0f', math.min(slowest, q) + 1))
  end,
}

-- receipt: how far a user has read a direct conversation, or got it delivered. KEYS epoch, conversation, the
-- user's queue, the other's queue. ARGV epoch, conv, user, other, 'read' or 'delivered', seq, queue cap.
-- Answers 'done', 'known' (nothing new), or 'epoch <current>'.
redis.register_function('receipt_@VERSION@', function(KEYS, ARGV)
  local current = redis.call('HGET', KEYS[1], 'id')
  if current ~= ARGV[1] then return 'epoch ' .. (current or '') end
  local user, kind = ARGV[3], ARGV[5]
  local have = redis.call('HMGET', KEYS[2], 'seq', 'read:' .. user, 'delivered:' .. user, 'mv')
  -- Version 2 is that of a conversation whose other member is gone: a receipt would make their queue again.
  if have[4] == '2' then return 'known' end
  local seq = math.min(tonumber(ARGV[6]), tonumber(have[1] or 0))
  local read, delivered = tonumber(have[2] or 0), tonumber(have[3] or 0)
  if kind == 'read' then
    if seq <= read then return 'known' end
    read = seq
  elseif seq <= math.max(read, delivered) then
    return 'known'
  end
  delivered = math.max(delivered, seq)
  redis.call('HSET', KEYS[2], 'read:' .. user, read, 'delivered:' .. user, delivered)
  local event = string.format('{"type":"receipt","conv":"%s","user":"%s","read":%.0f,"delivered":%.0f}',
    ARGV[2], user, read, delivered)
  enqueue(KEYS[4], ARGV[4], ARGV[1], event, ARGV[7])
  -- The reader's other devices clear their badge; delivery says nothing to them.
  if kind == 'read' then enqueue(KEYS[3], user, ARGV[1], event, ARGV[7]) end
  return 'done'
end)

-- extent: where a queue begins and ends. KEYS epoch, queue. Answers epoch, head, first available q.
redis.register_function{
  function_name = 'extent_@VERSION@',
  flags = {'no-writes'},
  callback = function(KEYS, ARGV)
    local head, first = extent(KEYS[2])
    return {redis.call('HGET', KEYS[1], 'id') or '', head, first}
  end,
}
