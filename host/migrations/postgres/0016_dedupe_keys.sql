-- The delivery that holds a dedupe key, for as long as the key lasts.
CREATE TABLE dedupe_key (
    endpoint_id UUID   NOT NULL,
    key         TEXT   NOT NULL,
    delivery_id UUID   NOT NULL,
    taken_at    BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    PRIMARY KEY (endpoint_id, key)
);
CREATE INDEX dedupe_key_expiry ON dedupe_key (expires_at);
-- Deliveries of before keep their keys for 24 hours; so far they kept them for ever.
INSERT INTO dedupe_key (endpoint_id, key, delivery_id, taken_at, expires_at)
    SELECT endpoint_id, dedupe_key, id, created_at, created_at + 86400000000 FROM delivery
    WHERE dedupe_key IS NOT NULL AND status NOT IN (3, 5);
DROP INDEX delivery_dedupe;

-- Each flow claims its own events, so that the backlog of one holds up no other.
DROP INDEX planning_due;
CREATE INDEX planning_due ON planning (flow_id, due_at) WHERE deaths < 2;
