-- What each running process says of itself. Where it serves, of which version it is, since when it runs, and by which
-- mark of its secret key others see that it reads the same stored secrets.
ALTER TABLE node ADD COLUMN address TEXT;
ALTER TABLE node ADD COLUMN version TEXT;
ALTER TABLE node ADD COLUMN started_at BIGINT;
ALTER TABLE node ADD COLUMN key_mark BYTEA;
