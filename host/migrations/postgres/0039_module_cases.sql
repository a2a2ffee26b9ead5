-- The result of the last run of a version's sample cases, as JSON. Null if they did not run.
ALTER TABLE module ADD COLUMN cases TEXT;
