-- Presence: who is online, by leases that end by this server's clock. A user's record is a hash:
--   lease:<device>  '<session> <gateway> <until>'; the gateway is - once the session has ended. Waiting polls have
--                   lease:poll:<device>
--   state           online or offline, as friends were told
--   v               the version of that. It rises with every change, and begins at the time, so that a record that
--                   was lost begins above what it had
--   active          when the person was here last
--   here            when a device said so last, shown to nobody
--   privacy         '<version> <last_seen> <visible or invisible>'
-- and a sorted set of each shard has when to look at whom: never later than the user's last lease ends.
-- The hash presence:gateways has of each event loop of a gateway when it gave a sign last, once a second: of those that
-- died no lease need be waited for.

local NOTICE = 5000       -- so long a lease lasts at least when its gateway is given up, which may yet prove it wrong
local REMEMBERED = 60000  -- so long an ended lease tells a late renewal of its session that it is one

local function write_lease(record_key, record, device, session, gateway, till)
  redis.call('HSET', record_key, 'lease:' .. device, string.format('%s %s %.0f', session, gateway, till))
  record.leases[device] = {session = session, gateway = gateway, till = till}
end

local function is_invisible(privacy) return string.sub(privacy or '', -10) == ' invisible' end

local function privacy_version(privacy) return tonumber(string.match(privacy or '0', '^%d+')) end

local function hides_last_active(privacy) return string.find(privacy or '', ' nobody ', 1, true) ~= nil end

-- As told to friends: '<state> <version> <last active, - for hidden or unknown>'.
local function picture(state, v, active, privacy)
  return (state or 'offline') .. ' ' .. (v or '0') .. ' ' .. (hides_last_active(privacy) and '-' or active or '-')
end

-- Brings state and expiry in line with the leases. Answers the change, '' for none. With must_tell there always is one.
local function settle(record_key, expiries_key, user, record, now, must_tell)
  local last = 0
  for device, lease in pairs(record.leases) do
    if lease.till > now then
      last = math.max(last, lease.till)
    elseif lease.till < now - REMEMBERED then
      redis.call('HDEL', record_key, 'lease:' .. device)
    end
  end
  if last > 0 then
    redis.call('ZADD', expiries_key, last, user)
  elseif redis.call('ZREM', expiries_key, user) == 1 then
    pcall(push_missed, user, record_key)
  end
  local state = last > 0 and not is_invisible(record.privacy) and 'online' or 'offline'
  if state == (record.state or 'offline') and not must_tell then return '' end
  if state == 'online' and record.state ~= 'online' then
    record.active = string.format('%.0f', now)
    redis.call('HSET', record_key, 'active', record.active)
  end
  local v = string.format('%.0f', math.max(tonumber(record.v or 0) + 1, now))
  redis.call('HSET', record_key, 'state', state, 'v', v)
  return picture(state, v, record.active, record.privacy)
end

-- presence_enter: a session begins to count. KEYS record, expiries. ARGV user, device, session, gateway, milliseconds
-- of the lease, privacy ('' for not known here). Answers the change, '' for none, or 'unknown': nothing was done, for
-- want of the user's privacy.
redis.register_function{
  function_name = 'presence_enter_@VERSION@',
  flags = {'allow-oom'},
  callback = function(KEYS, ARGV)
    local record, now = read_record(KEYS[1]), now_ms()
    if not record.privacy and ARGV[6] == '' then return 'unknown' end
    if ARGV[6] ~= '' and (not record.privacy or privacy_version(ARGV[6]) > privacy_version(record.privacy)) then
      record.privacy = ARGV[6]
      redis.call('HSET', KEYS[1], 'privacy', ARGV[6])
    end
    write_lease(KEYS[1], record, ARGV[2], ARGV[3], ARGV[4], now + tonumber(ARGV[5]))
    return settle(KEYS[1], KEYS[2], ARGV[1], record, now)
  end,
}

-- A session is still there: a part of `positions`. Answers as presence_enter. The lease of another session stays, unless
-- that one has ended; one that has ended itself comes too late; one that was lost with the server's data is made anew.
local function renew(record_key, expiries_key, user, device, session, gateway, lease)
  local have, now = redis.call('HMGET', record_key, 'lease:' .. device, 'state', 'privacy'), now_ms()
  if not have[3] then return 'unknown' end
  if have[1] then
    local holder, at, till = string.match(have[1], '^(%S+) (%S+) (%d+)$')
    if holder == session and at == ENDED then return '' end
    if holder ~= session and at ~= ENDED and tonumber(till) > now then return '' end
  end
  local written = string.format('%s %s %.0f', session, gateway, now + lease)
  redis.call('HSET', record_key, 'lease:' .. device, written)
  -- In the set of expiries is everybody who has a lease: whoever looks there finds this one.
  if have[1] and have[2] == 'online' then return '' end
  return settle(record_key, expiries_key, user, read_record(record_key), now)
end

-- presence_leave: a session has ended, its lease ends with the grace. KEYS record, expiries. ARGV user, device, session,
-- milliseconds of grace; with 0 the person themself has left. Answers the change, '' for none.
redis.register_function{
  function_name = 'presence_leave_@VERSION@',
  flags = {'allow-oom'},
  callback = function(KEYS, ARGV)
    local record, now, grace = read_record(KEYS[1]), now_ms(), tonumber(ARGV[4])
    local lease = record.leases[ARGV[2]]
    if not lease or lease.session ~= ARGV[3] then return '' end
    write_lease(KEYS[1], record, ARGV[2], ARGV[3], ENDED, math.min(lease.till, now + grace))
    if grace == 0 and not is_invisible(record.privacy) then
      record.active = string.format('%.0f', now)
      redis.call('HSET', KEYS[1], 'active', record.active)
    end
    return settle(KEYS[1], KEYS[2], ARGV[1], record, now)
  end,
}

-- presence_active: the person is there. Nobody is told. KEYS record.
redis.register_function{
  function_name = 'presence_active_@VERSION@',
  flags = {'allow-oom'},
  callback = function(KEYS)
    local privacy, now = redis.call('HGET', KEYS[1], 'privacy'), string.format('%.0f', now_ms())
    if privacy then redis.call('HSET', KEYS[1], 'here', now) end
    -- Whoever is invisible is shown as last seen before.
    if privacy and not is_invisible(privacy) then
      redis.call('HSET', KEYS[1], 'active', now)
    end
  end,
}

-- presence_privacy: what a user shows, unless something newer is known. KEYS record, expiries. ARGV user, privacy.
-- Answers the change, '' for none.
redis.register_function{
  function_name = 'presence_privacy_@VERSION@',
  flags = {'allow-oom'},
  callback = function(KEYS, ARGV)
    local record = read_record(KEYS[1])
    local known = record.privacy
    if known and privacy_version(known) >= privacy_version(ARGV[2]) then return '' end
    redis.call('HSET', KEYS[1], 'privacy', ARGV[2])
    record.privacy = ARGV[2]
    local must_tell = known and hides_last_active(known) ~= hides_last_active(ARGV[2])
    return settle(KEYS[1], KEYS[2], ARGV[1], record, now_ms(), must_tell)
  end,
}

-- presence_read: pictures of users. KEYS records.
redis.register_function{
  function_name = 'presence_read_@VERSION@',
  flags = {'no-writes'},
  callback = function(KEYS)
    local result = {}
    for i, key in ipairs(KEYS) do
      local have = redis.call('HMGET', key, 'state', 'v', 'active', 'privacy')
      result[i] = picture(have[1], have[2], have[3], have[4])
    end
    return result
  end,
}

-- presence_due: whom to look at. KEYS expiries. ARGV how many of each. Answers users.
redis.register_function{
  function_name = 'presence_due_@VERSION@',
  flags = {'no-writes'},
  callback = function(KEYS, ARGV)
    local now, result = now_ms(), {}
    for _, key in ipairs(KEYS) do
      for _, user in ipairs(redis.call('ZRANGE', key, '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1])) do
        result[#result + 1] = user
      end
    end
    return result
  end,
}

-- presence_sign: a gateway is there. KEYS gateways. ARGV gateway. Answers 1; 0 where it was not known, or given up.
redis.register_function{
  function_name = 'presence_sign_@VERSION@',
  flags = {'allow-oom'},
  callback = function(KEYS, ARGV)
    return 1 - redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now_ms()))
  end,
}

-- presence_silent: KEYS gateways. ARGV milliseconds. Answers those who gave no sign for longer, each with its last.
redis.register_function{
  function_name = 'presence_silent_@VERSION@',
  flags = {'no-writes'},
  callback = function(KEYS, ARGV)
    local all, limit, result = redis.call('HGETALL', KEYS[1]), now_ms() - tonumber(ARGV[1]), {}
    for i = 1, #all, 2 do
      if tonumber(all[i + 1]) < limit then result[#result + 1] = all[i] .. ' ' .. all[i + 1] end
    end
    return result
  end,
}

-- presence_give_up: ends leases of a gateway that died with the grace from its last sign. KEYS record, expiries by turns.
-- ARGV gateway, last sign, milliseconds of grace, then users. Answers the change of each, '' for none; one from about the
-- time when it died once more, which it may have kept to itself.
redis.register_function{
  function_name = 'presence_give_up_@VERSION@',
  flags = {'allow-oom'},
  callback = function(KEYS, ARGV)
    local now, result = now_ms(), {}
    local died = tonumber(ARGV[2])
    local till = math.max(died + tonumber(ARGV[3]), now + NOTICE)
    for i = 4, #ARGV do
      local record_key, expiries_key = KEYS[2 * i - 7], KEYS[2 * i - 6]
      local record = read_record(record_key)
      local is_meant, may_be_untold = false, tonumber(record.v or 0) > died - 1000
      for device, lease in pairs(record.leases) do
        if lease.gateway == ARGV[1] and lease.till > till then
          write_lease(record_key, record, device, lease.session, lease.gateway, till)
          is_meant = true
        end
      end
      local change = is_meant and settle(record_key, expiries_key, ARGV[i], record, now) or ''
      if change == '' and may_be_untold then change = picture(record.state, record.v, record.active, record.privacy) end
      result[i - 3] = change
    end
    return result
  end,
}

-- presence_sweep: looks at users. KEYS record, expiries by turns, ARGV users. Answers the change of each, '' for none.
redis.register_function{
  function_name = 'presence_sweep_@VERSION@',
  flags = {'allow-oom'},
  callback = function(KEYS, ARGV)
    local now, result = now_ms(), {}
    for i, user in ipairs(ARGV) do
      local record_key, expiries_key = KEYS[2 * i - 1], KEYS[2 * i]
      result[i] = settle(record_key, expiries_key, user, read_record(record_key), now)
    end
    return result
  end,
}

-- presence_forget: KEYS record, expiries. ARGV user.
redis.register_function{
  function_name = 'presence_forget_@VERSION@',
  flags = {'allow-oom'},
  callback = function(KEYS, ARGV)
    redis.call('DEL', KEYS[1])
    redis.call('ZREM', KEYS[2], ARGV[1])
  end,
}
