-- Groups: roles, when members joined and left, and the changes that are on their way to Redis.

ALTER TABLE conversations
    ADD COLUMN created_by text COLLATE "C",                 -- of a group
    ADD COLUMN creation_hash text;                          -- tells a repeated creation from another under the same key

-- A former member's row stays: such a one is told so, a stranger is not.
ALTER TABLE conversation_members
    ADD COLUMN role text NOT NULL DEFAULT 'member' CHECK (role IN ('owner', 'admin', 'member')),
    ADD COLUMN joined_version bigint NOT NULL DEFAULT 1,    -- the member_version that their joining made
    ADD COLUMN joined_mid bigint,                           -- of a group: the entry of their joining, once it is archived
    ADD COLUMN joined_seq bigint,
    ADD COLUMN left_version bigint;                         -- NULL while they are a member

-- NULL for a message; for other entries the event's type. Their body is empty and their data what the event tells.
ALTER TABLE messages ADD COLUMN type text;

-- The outbox of groups: written with the change itself, applied to Redis in order of versions, and deleted together
-- with the archiving of the entry that it became. So a row is here until its entry is in history, whatever is lost.
CREATE TABLE conversation_changes (
    conversation_id text COLLATE "C" NOT NULL,
    version bigint NOT NULL,                                -- the member_version that the change made
    kind text NOT NULL CHECK (kind IN ('created', 'renamed', 'added', 'assigned', 'removed')),
    actor_id text COLLATE "C" NOT NULL,
    title text,                                             -- created, renamed
    user_ids text[] NOT NULL DEFAULT '{}',                  -- created: all members; added, assigned, removed: the one
    role text,                                              -- added, assigned
    at bigint NOT NULL,                                     -- milliseconds since 1970
    PRIMARY KEY (conversation_id, version)
);
CREATE INDEX conversation_changes_at ON conversation_changes (at);
