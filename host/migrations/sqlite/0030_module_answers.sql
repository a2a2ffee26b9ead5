-- What hosts answered to requests of modules: the n-th answer of an event in a flow, for retries, replays and dry runs.
-- They go with the payload of their event. `request` is the SHA-256 of the request, in hex; `answer` is JSON.
CREATE TABLE module_answer (
    event_id BLOB NOT NULL,
    flow_id  BLOB NOT NULL,
    position INTEGER NOT NULL,
    request  TEXT NOT NULL,
    answer   TEXT NOT NULL,
    at       BIGINT NOT NULL,
    PRIMARY KEY (event_id, flow_id, position)
);
