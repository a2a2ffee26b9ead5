//! Statements for modules, their state and the answers to their requests.

statements! {
    INSERT_COMPONENT = "INSERT INTO component (sha256, wasm) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    SELECT_COMPONENT = "SELECT wasm AS value FROM component WHERE sha256 = $1";
    LATEST_MODULE = "SELECT MAX(version) AS latest FROM module WHERE name = $1";
    INSERT_MODULE = "INSERT INTO module (id, name, version, sha256, report, active, created_at, cases) \
        VALUES ($1, $2, $3, $4, $5, FALSE, $6, $7)";
    NOTE_CASES = "UPDATE module SET cases = $3 WHERE name = $1 AND version = $2";
    SELECT_MODULES = "SELECT id, name, version, sha256, report, active, approved, cases, trial, created_at FROM module \
        ORDER BY name, version";
    DEACTIVATE_MODULE = "UPDATE module SET active = FALSE WHERE name = $1 AND active";
    ACTIVATE_MODULE = "UPDATE module SET active = TRUE WHERE name = $1 AND version = $2";
    APPROVE_MODULE = "UPDATE module SET approved = $3 WHERE name = $1 AND version = $2";
    SET_TRIAL = "UPDATE module SET trial = $3 WHERE name = $1 AND version = $2";
    /// Of all versions but one.
    CLEAR_TRIALS = "UPDATE module SET trial = NULL WHERE name = $1 AND trial IS NOT NULL AND version <> $2";
    ADD_TRIAL_COUNT = "INSERT INTO trial_count (module, run, name, value) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (module, run, name) DO UPDATE SET value = trial_count.value + excluded.value";
    SELECT_TRIAL_COUNTS = "SELECT name, value FROM trial_count WHERE module = $1 AND run = $2";
    /// Of all trials but one.
    FORGET_TRIAL_COUNTS = "DELETE FROM trial_count WHERE module = $1 AND run <> $2";
    SELECT_MODULE_ANSWERS = "SELECT position, request, answer FROM module_answer \
        WHERE event_id = $1 AND flow_id = $2 ORDER BY position";
    /// Only while the flow's modules are to run on the event.
    UPSERT_MODULE_ANSWER = "INSERT INTO module_answer (event_id, flow_id, position, request, answer, at) \
        SELECT event_id, flow_id, CAST($3 AS INTEGER), CAST($4 AS TEXT), CAST($5 AS TEXT), CAST($6 AS BIGINT) \
        FROM planning WHERE event_id = $1 AND flow_id = $2 \
        ON CONFLICT (event_id, flow_id, position) DO UPDATE SET request = excluded.request, \
        answer = excluded.answer, at = excluded.at";
    SELECT_STATE = "SELECT value, expires_at FROM module_state \
        WHERE flow_id = $1 AND scope = $2 AND key = $3";
    COUNT_STATE = "SELECT COUNT(*) AS value FROM (\
        SELECT 1 FROM module_state WHERE flow_id = $1 LIMIT $2) AS counted";
    DELETE_FLOW_STATE = "DELETE FROM module_state WHERE flow_id = $1";
    COUNTERS_OF_MODULE = "SELECT name, value FROM module_counter WHERE module = $1 ORDER BY name";
    DELETE_FLOW_CANCEL_KEYS = "DELETE FROM cancel_key WHERE flow_id = $1";
}
