-- Of an ordered endpoint: it was due, and an earlier one of its record is not settled. `due_at` is then when it is looked
-- at again, so that a claim does not read it again and again.
ALTER TABLE delivery ADD COLUMN parked BOOLEAN NOT NULL DEFAULT FALSE;
