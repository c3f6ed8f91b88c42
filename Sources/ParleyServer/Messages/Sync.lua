-- Sessions and their queues.

-- attach: a session begins. KEYS epoch, queue, user, revoked login.
-- ARGV user, device, session, '1' if the device keeps its place in the queue, cursor's epoch and q ('' without), login,
-- limit of devices. Answers epoch ('' for none), head, first available q, '0' or why there is no session: '1' for a
-- revoked login, '2' for one device too many. Older sessions of the device hear of it and close.
local function attach(KEYS, ARGV)
  local epoch = redis.call('HGET', KEYS[1], 'id') or ''
  reopen(KEYS[2])
  local head, first = extent(KEYS[2])
  local revoked = redis.call('EXISTS', KEYS[4])
  if revoked == 1 or epoch == '' then return {epoch, head, first, tostring(revoked)} end
  if ARGV[4] == '1' then
    local devices = read_devices(KEYS[3])
    local known = devices[ARGV[2]]
    if not known and not has_room(KEYS[3], devices, tonumber(ARGV[8])) then return {epoch, head, first, '2'} end
    local q = ARGV[5] == epoch and tonumber(ARGV[6]) or tonumber(head)
    -- A device's place never goes back: what it has handled may be gone already.
    if known and known.epoch == epoch then q = math.max(q, known.q) end
    write_device(KEYS[3], devices, ARGV[2], epoch, math.min(q, tonumber(head)), ARGV[7], ARGV[3])
  end
  redis.call('PUBLISH', 'user:' .. ARGV[1], '!replaced ' .. ARGV[2] .. ' ' .. ARGV[3])
  return {epoch, head, first, '0'}
end

-- Who cannot attach cannot ack either, and a full Redis would stay full.
redis.register_function{function_name = 'attach_@VERSION@', callback = attach, flags = {'allow-oom'}}

-- positions: heads of queues, and whether logins are revoked; on the way the leases of sessions are renewed. KEYS epoch,
-- then queue, revoked login, presence record and expiries by turns. ARGV gateway, milliseconds of a lease, then user,
-- device ('' for a reader without a lease) and session by turns.
-- Answers epoch, then '<head> <revoked>' and what `renew` says of each.
redis.register_function{
  function_name = 'positions_@VERSION@',
  flags = {'allow-oom'},
  callback = function(KEYS, ARGV)
    local result, lease = {redis.call('HGET', KEYS[1], 'id') or ''}, tonumber(ARGV[2])
    for i = 2, #KEYS, 4 do
      local id, revoked = last_id(KEYS[i]), redis.call('EXISTS', KEYS[i + 1])
      local n = 3 + (i - 2) / 4 * 3
      local change = ''
      if revoked == 0 and ARGV[n + 1] ~= '' then
        change = renew(KEYS[i + 2], KEYS[i + 3], ARGV[n], ARGV[n + 1], ARGV[n + 2], ARGV[1], lease)
      end
      result[#result + 1] = string.sub(id, 3) .. ' ' .. revoked
      result[#result + 1] = change
    end
    return result
  end,
}

-- What of others' messages after one position and up to another is the last of each conversation: appends
-- conversation and seq of each to a list. Receipts are a courtesy: the newest entries tell enough.
local function append_delivered(list, queue_key, user, after, upto)
  local entries = redis.call('XREVRANGE', queue_key, string.format('0-%.0f', upto),
    string.format('(0-%.0f', after), 'COUNT', 256)
  local told = {}
  for _, entry in ipairs(entries) do
    local seq, conv, from = string.match(entry[2][2],
      '^{"mid":"%d+","ts":%d+,"seq":(%d+),"type":"message","conv":"([^"]+)","from":"([^"]+)"')
    if from and from ~= user and not told[conv] then
      told[conv] = true
      list[#list + 1] = conv
      list[#list + 1] = seq
    end
  end
end

-- poll: a reader without a socket asks where its queue stands. One that names a device has handled everything up to its
-- cursor, and keeps its place as a socket's device does.
-- KEYS epoch, queue, user, revoked login. ARGV user, device ('' for a reader that keeps no place), cursor's epoch and
-- q ('' without), login, limit of devices. Answers as attach does, then conversation and seq of each message that the
-- device is now known to have.
local SEEN_PAUSE = 60000  -- a place that does not move is not written anew for so long

local function poll(KEYS, ARGV)
  local epoch = redis.call('HGET', KEYS[1], 'id') or ''
  reopen(KEYS[2])
  local head, first = extent(KEYS[2])
  local answer = {epoch, head, first, tostring(redis.call('EXISTS', KEYS[4]))}
  local name = ARGV[2]
  if answer[4] == '1' or epoch == '' or name == '' then return answer end
  -- Whoever has no cursor of this queue begins anew at the head.
  local goes_on = ARGV[3] == epoch and tonumber(ARGV[4]) <= tonumber(head)
  local q = goes_on and tonumber(ARGV[4]) or tonumber(head)
  local devices = read_devices(KEYS[3])
  local known = devices[name]
  if not known and not has_room(KEYS[3], devices, tonumber(ARGV[6])) then
    answer[4] = '2'
    return answer
  end
  if known and known.epoch == epoch then
    local is_known = q <= known.q and known.login == ARGV[5]
    if is_known and now_ms() - known.seen < SEEN_PAUSE then return answer end
    if goes_on then append_delivered(answer, KEYS[2], ARGV[1], known.q, q) end
    q = math.max(q, known.q)
  end
  write_device(KEYS[3], devices, name, epoch, q, ARGV[5], known and known.session or '-')
  trim_queue(KEYS[2], KEYS[3], devices, epoch)
  return answer
end

redis.register_function{function_name = 'poll_@VERSION@', callback = poll, flags = {'allow-oom'}}

-- receipt: how far a user has read a direct conversation, or got it delivered. KEYS epoch, conversation, the
-- user's queue, the other's queue. ARGV epoch, conv, user, other, 'read' or 'delivered', seq, queue cap.
-- Who may not write keeps their place and tells nobody of it.
-- Answers 'done', 'known' (nothing new), or 'epoch <current>'.
redis.register_function('receipt_@VERSION@', function(KEYS, ARGV)
  local current = redis.call('HGET', KEYS[1], 'id')
  if current ~= ARGV[1] then return 'epoch ' .. (current or '') end
  local user, kind = ARGV[3], ARGV[5]
  local have = redis.call('HMGET', KEYS[2], 'seq', 'read:' .. user, 'delivered:' .. user, 'closed', 'mv')
  -- Version 2 is that of a conversation whose other member is gone: a receipt would make their queue again.
  if have[5] == '2' then return 'known' end
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
  if not is_closed(have[4], user) then enqueue(KEYS[4], ARGV[4], ARGV[1], event, ARGV[7]) end
  -- The reader's other devices clear their badge; delivery says nothing to them.
  if kind == 'read' then
    enqueue(KEYS[3], user, ARGV[1], event, ARGV[7])
    pcall(push_read, user, KEYS[3], KEYS[2], ARGV[2], seq, tonumber(have[1] or 0))
  end
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
