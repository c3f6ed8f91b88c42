-- The newest message of each conversation in history: what lists of conversations are ordered by, without a search
-- through the partitions. Kept by the database itself, so that it holds whoever writes history.

CREATE TABLE conversation_heads (
    conversation_id text COLLATE "C" PRIMARY KEY,
    last_mid bigint NOT NULL
) WITH (fillfactor = 70);

CREATE FUNCTION raise_conversation_heads() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO conversation_heads AS head (conversation_id, last_mid)
    SELECT conversation_id, max(message_id) FROM added WHERE type IS NULL GROUP BY conversation_id
    ON CONFLICT (conversation_id) DO UPDATE SET last_mid = excluded.last_mid WHERE head.last_mid < excluded.last_mid;
    RETURN NULL;
END
$$;

-- Holds writers off until the heads of what is there already are counted.
CREATE TRIGGER messages_heads AFTER INSERT ON messages REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION raise_conversation_heads();

INSERT INTO conversation_heads (conversation_id, last_mid)
SELECT conversation_id, max(message_id) FROM messages WHERE type IS NULL GROUP BY conversation_id;
