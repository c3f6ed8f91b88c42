-- Conversations that users have muted. A user's own affair: nobody else sees it, and it outlasts leaving a group.

CREATE TABLE conversation_mutes (
    user_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
    conversation_id text COLLATE "C" NOT NULL,
    until bigint,                                           -- milliseconds since 1970; NULL for no end
    PRIMARY KEY (user_id, conversation_id)
);
