-- A record that never changed has one time: the index by creation finds it by that. The index of
-- changed records holds the others, so that a new record is one entry less to write.
DROP INDEX record_updated;
CREATE INDEX record_updated ON record (resource, updated_at, ordinal, resource_id, source)
    WHERE deleted_at IS NULL AND updated_at <> created_at;
