-- Compressed texts. A text that is stored here is empty or null in its own column.
ALTER TABLE event ADD COLUMN packed BLOB;
ALTER TABLE message ADD COLUMN packed BLOB;
ALTER TABLE plan ADD COLUMN packed BLOB;
-- The headers of an attempt's request and answer, one below the other.
ALTER TABLE attempt ADD COLUMN packed BLOB;

-- Earlier versions cannot read compressed payloads.
INSERT INTO schema_floor (version) VALUES (44);
