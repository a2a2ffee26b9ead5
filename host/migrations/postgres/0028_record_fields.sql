-- Fields of records by which modules find them. A row is only a hint: the record itself is looked at too.
CREATE TABLE record_field (
    resource    TEXT     NOT NULL,
    field       TEXT     NOT NULL,
    ordinal     BIGINT   NOT NULL,
    resource_id TEXT     NOT NULL,
    source      TEXT     NOT NULL,
    value       TEXT     NOT NULL,
    -- As in `record`: 1 if the value comes from a whole record.
    whole       SMALLINT NOT NULL,
    PRIMARY KEY (resource, field, ordinal, resource_id, source)
);
CREATE INDEX record_field_value ON record_field (resource, field, value, source);
-- The indexes that hold the records of before, too.
CREATE TABLE record_index (
    resource  TEXT   NOT NULL,
    field     TEXT   NOT NULL,
    filled_at BIGINT NOT NULL,
    PRIMARY KEY (resource, field)
);
