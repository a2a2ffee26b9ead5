-- What the modules of a flow remember. `scope` is the key of a record, or empty for what belongs to the flow.
CREATE TABLE module_state (
    flow_id    UUID   NOT NULL,
    scope      TEXT   NOT NULL,
    key        TEXT   NOT NULL,
    -- A JSON text.
    value      TEXT   NOT NULL,
    expires_at BIGINT,
    -- The event under which it was written last.
    event_id   UUID   NOT NULL,
    PRIMARY KEY (flow_id, scope, key)
);
CREATE INDEX module_state_expiry ON module_state (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX module_state_record ON module_state (scope) WHERE scope <> '';
-- What modules count.
CREATE TABLE module_counter (
    module TEXT   NOT NULL,
    name   TEXT   NOT NULL,
    value  BIGINT NOT NULL,
    PRIMARY KEY (module, name)
);
-- The names under which modules can cancel deliveries of their flow that wait.
CREATE TABLE cancel_key (
    delivery_id UUID NOT NULL PRIMARY KEY,
    flow_id     UUID NOT NULL,
    key         TEXT NOT NULL
);
CREATE INDEX cancel_key_name ON cancel_key (flow_id, key);
