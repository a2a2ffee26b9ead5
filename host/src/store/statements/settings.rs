//! Statements for the settings that operators make.

statements! {
    TOPOLOGY_VERSION = "SELECT version AS value FROM topology";
    GROW_TOPOLOGY = "UPDATE topology SET version = version + 1";
    SELECT_OBJECTS = "SELECT id, name, body, sealed, created_at, updated_at FROM object \
        WHERE kind = $1 ORDER BY name";
    UPSERT_OBJECT = "INSERT INTO object (kind, id, name, body, sealed, created_at, updated_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (kind, id) DO UPDATE SET \
        name = excluded.name, body = excluded.body, sealed = excluded.sealed, \
        updated_at = excluded.updated_at";
    /// Only if the object still has the state that was stored at `$6`.
    UPDATE_OBJECT = "UPDATE object SET name = $3, body = $4, sealed = $5, updated_at = $7 \
        WHERE kind = $1 AND id = $2 AND updated_at = $6";
    DELETE_OBJECT = "DELETE FROM object WHERE kind = $1 AND id = $2";
}
