-- Keys by which a source's repeats are recognised come in any order, so each goes to a page of its own: small rows are fewer pages to write.
DROP TABLE capture_key;
CREATE TABLE capture_key (
    -- The source and the key, or where those are long their hash.
    key        BYTEA  NOT NULL PRIMARY KEY,
    event_id   UUID   NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX capture_key_expiry ON capture_key (expires_at);
