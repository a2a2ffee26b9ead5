-- How a version is tried on live events beside the active one, as JSON. Null if it is not on trial.
ALTER TABLE module ADD COLUMN trial TEXT;
-- What all nodes have counted of a trial. `run` is the number of the trial: when it began, in microseconds since 1970.
CREATE TABLE trial_count (
    module TEXT   NOT NULL,
    run    BIGINT NOT NULL,
    name   TEXT   NOT NULL,
    value  BIGINT NOT NULL,
    PRIMARY KEY (module, run, name)
);
