-- A dead letter may also be a row of a source that cannot be read or told: it has neither an event nor a delivery.
ALTER TABLE dead_letter ALTER COLUMN event_id DROP NOT NULL;
ALTER TABLE dead_letter ALTER COLUMN event_type DROP NOT NULL;
ALTER TABLE dead_letter ADD COLUMN source_id UUID;
-- The table or list of the source, and the row's key; where the row stands, if the key cannot be read.
ALTER TABLE dead_letter ADD COLUMN list TEXT;
ALTER TABLE dead_letter ADD COLUMN row_id TEXT;
-- When the row is from, where it says so and can be asked for by that.
ALTER TABLE dead_letter ADD COLUMN row_at BIGINT;
ALTER TABLE dead_letter ADD CHECK ((event_id IS NULL) <> (source_id IS NULL));
ALTER TABLE dead_letter ADD CHECK ((event_id IS NULL) = (event_type IS NULL));
ALTER TABLE dead_letter ADD CHECK ((source_id IS NULL) = (list IS NULL) AND (source_id IS NULL) = (row_id IS NULL));
DROP INDEX dead_letter_plan;
CREATE UNIQUE INDEX dead_letter_plan ON dead_letter (event_id, flow_id)
    WHERE delivery_id IS NULL AND source_id IS NULL;
CREATE UNIQUE INDEX dead_letter_row ON dead_letter (source_id, list, row_id) WHERE source_id IS NOT NULL;
