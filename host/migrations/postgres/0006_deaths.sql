-- How often the process died that held an event for a flow; see journal::claim.
ALTER TABLE planning ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;
CREATE INDEX planning_suspect ON planning (deaths, due_at) WHERE deaths > 1;
