-- What retention has dropped, exports under way, and accounts that are gone.

-- History before this message id may be incomplete: partitions of that time were dropped. One row.
--
-- What a dropped partition held of a conversation stands in conversation_jumps as one jump of the epoch 'retention', from
-- 0 to the last sequence number: those numbers are neither given again nor unread.
CREATE TABLE retention (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    dropped_below bigint NOT NULL DEFAULT 0
);
INSERT INTO retention DEFAULT VALUES;

-- One export at a time a user. The process that writes it renews its lease; another one's token takes over a lease that
-- has ended.
CREATE TABLE exports (
    user_id text COLLATE "C" PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    token text NOT NULL,
    lease_until bigint NOT NULL                             -- milliseconds since 1970, by this server's clock
);

-- Ids of deleted accounts: never given again, and shown in place of the person.
CREATE TABLE deleted_users (
    id text COLLATE "C" PRIMARY KEY,
    deleted_at bigint NOT NULL                              -- milliseconds since 1970
);

-- The outbox of deletions, written with the deletion itself: what Redis and conversations still hold of the user is
-- removed when it is due, twice, since what was under way may have written again after the first time.
CREATE TABLE account_deletions (
    user_id text COLLATE "C" PRIMARY KEY,
    logins text[] NOT NULL,
    passes smallint NOT NULL DEFAULT 0,                     -- how often everything was removed
    due_at bigint NOT NULL                                  -- milliseconds since 1970
);
CREATE INDEX account_deletions_due ON account_deletions (due_at);

-- What a dropped partition's messages were changed by is dropped with them.
CREATE INDEX message_changes_change ON message_changes (change_id);
