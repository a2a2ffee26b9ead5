-- The drafts and dispatches that modules returned, as JSON, step by step. They go with the payload of their event.
ALTER TABLE plan ADD COLUMN contents TEXT;
