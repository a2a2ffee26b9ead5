-- The content of a row that nobody can read again, such as a request of the capture log.
ALTER TABLE dead_letter ADD COLUMN content TEXT;
