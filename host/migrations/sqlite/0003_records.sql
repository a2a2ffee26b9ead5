-- The latest state of every record that the catalogue knows: the event that holds it.
CREATE TABLE record (
    resource    TEXT    NOT NULL,
    -- The id as a number, 0 where it is none: lists are in this order.
    ordinal     BIGINT  NOT NULL,
    resource_id TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    event_id    BLOB    NOT NULL,
    -- 1 if that event holds the whole record, 0 if little more than its id.
    whole       INTEGER NOT NULL,
    updated_at  BIGINT  NOT NULL,
    deleted_at  BIGINT,
    PRIMARY KEY (resource, ordinal, resource_id, source)
) WITHOUT ROWID;
CREATE INDEX record_updated ON record (resource, updated_at, ordinal, resource_id, source)
    WHERE deleted_at IS NULL;
