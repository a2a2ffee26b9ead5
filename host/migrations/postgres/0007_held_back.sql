-- A receiver that asks for time (429, or 503 with Retry-After) holds back its endpoint.
-- When it first asked in the present round of the schedule: after a day refusals count as failures.
ALTER TABLE delivery ADD COLUMN held_since BIGINT;
-- Until when it asked; only where the last attempt was refused. The next process reads the hold here.
ALTER TABLE delivery ADD COLUMN held_until BIGINT;
CREATE INDEX delivery_held ON delivery (endpoint_id, held_until) WHERE held_until IS NOT NULL;

-- Endpoints were stored with "jitter": 0.0 where nobody had set any. Without it they have the default.
UPDATE object SET body = REPLACE(REPLACE(body, ',"jitter":0.0}', '}'), '{"jitter":0.0}', '{}')
    WHERE kind = 'endpoint';
