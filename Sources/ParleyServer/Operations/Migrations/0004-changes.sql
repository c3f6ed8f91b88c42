-- Edits and deletions of messages.

ALTER TABLE messages
    ADD COLUMN rev bigint,                                  -- the last change that is in the row; NULL for none
    ADD COLUMN is_deleted boolean NOT NULL DEFAULT false;   -- then the body is empty, and data and reply_to NULL

-- What was changed under which cid, so that a late repeat is told from another change. What was written before is
-- kept nowhere.
CREATE TABLE message_changes (
    conversation_id text COLLATE "C" NOT NULL,
    change_id bigint NOT NULL,                              -- its place in the commit log, as a message id
    seq bigint NOT NULL,                                    -- of the message
    sender_id text COLLATE "C" NOT NULL,
    cid text COLLATE "C",
    content_hash text NOT NULL,
    PRIMARY KEY (conversation_id, change_id)
);
CREATE INDEX message_changes_cid ON message_changes (conversation_id, sender_id, cid);
