-- When an event lost its payload: it was older than the configuration keeps.
ALTER TABLE event ADD COLUMN pruned_at BIGINT;
-- An event is kept as long as there is a dead letter of it.
CREATE INDEX dead_letter_event ON dead_letter (event_id);
