-- Keys by which a source's repeats are recognised come in any order, so each goes to a page of its own: small rows are fewer pages to write.
DROP TABLE capture_key;
CREATE TABLE capture_key (
    -- The source and the key, or where those are long their hash.
    key        BLOB   NOT NULL,
    event_id   BLOB   NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX capture_key_key ON capture_key (key);
CREATE INDEX capture_key_expiry ON capture_key (expires_at);
