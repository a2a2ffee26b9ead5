//! Statements for audited calls and the usage of tokens.

statements! {
    SELECT_CALLS = "SELECT id, token_id, address, method, route, status, duration_us, calls FROM audit \
        WHERE id < $1 AND id >= $2 AND (CAST($3 AS TEXT) IS NULL OR token_id = $4) \
        AND (CAST($5 AS TEXT) IS NULL OR address = $5) AND (CAST($6 AS TEXT) IS NULL OR method = $6) \
        AND (CAST($7 AS TEXT) IS NULL OR route = $7) \
        AND (CAST($8 AS SMALLINT) IS NULL OR status BETWEEN $8 AND $9) ORDER BY id DESC LIMIT $10";
    FORGET_CALLS = "DELETE FROM audit WHERE id IN \
        (SELECT id FROM audit WHERE id < $1 ORDER BY id LIMIT $2)";
    SELECT_TOKEN_USAGES = "SELECT token_id, window_began, calls, last_used_at FROM token_usage";
    DELETE_TOKEN_USAGE = "DELETE FROM token_usage WHERE token_id = $1";
    /// Takes `$3` calls of a minute if at most `$4` are then taken. Returns how many are taken.
    TAKE_CALLS = "INSERT INTO token_window (token_id, minute, taken) VALUES ($1, $2, $3) \
        ON CONFLICT (token_id) DO UPDATE SET taken = CASE \
        WHEN token_window.minute < excluded.minute THEN excluded.taken \
        ELSE token_window.taken + excluded.taken END, minute = excluded.minute \
        WHERE token_window.minute < excluded.minute OR (token_window.minute = excluded.minute \
        AND token_window.taken + excluded.taken <= $4) RETURNING taken AS value";
    DELETE_TOKEN_WINDOW = "DELETE FROM token_window WHERE token_id = $1";
}
