-- What users show of their presence.

ALTER TABLE users
    ADD COLUMN invisible boolean NOT NULL DEFAULT false,
    -- Rises with every change of invisible or last_seen: Redis keeps the newest.
    ADD COLUMN presence_version bigint NOT NULL DEFAULT 1;
