-- When a record was first heard of. Lists are in this order, which an update does not change. Of records that are older
-- than this column it is not known: the last time stands in its place.
ALTER TABLE record ADD COLUMN created_at BIGINT NOT NULL DEFAULT 0;
UPDATE record SET created_at = updated_at;
CREATE INDEX record_created ON record (resource, created_at, ordinal, resource_id, source)
    WHERE deleted_at IS NULL;
-- Deleted records are few: how many there were lately is counted, and those of long ago are forgotten.
CREATE INDEX record_deleted ON record (deleted_at) WHERE deleted_at IS NOT NULL;
