//! Statements for nodes, their shares of limits, and the time that they use.

statements! {
    /// The time that all nodes use. SQLite has one node, which uses its own clock.
    DATABASE_TIME_POSTGRES = "SELECT waybill_now() AS value";
    SEEN = "INSERT INTO node (id, seen_at, address, version, started_at, key_mark, skew_us, next_key_mark) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, \
        address = excluded.address, version = excluded.version, started_at = excluded.started_at, \
        key_mark = excluded.key_mark, skew_us = excluded.skew_us, \
        next_key_mark = excluded.next_key_mark";
    /// Only a node that is described. A node that was declared lost, and then proved that it can
    /// write, is not.
    SEEN_AGAIN = "UPDATE node SET seen_at = $2, skew_us = $3 WHERE id = $1 AND started_at IS NOT NULL";
    SELECT_NODES = "SELECT id, seen_at, address, version, started_at, skew_us FROM node ORDER BY started_at, id";
    NODES_WITH_OTHER_KEY = "SELECT id, seen_at, address, version, started_at, skew_us FROM node \
        WHERE id <> $1 AND key_mark <> $2 AND seen_at >= $3 \
        AND (next_key_mark <> $2) IS NOT FALSE AND (key_mark <> $4) IS NOT FALSE";
    /// Nodes that cannot decrypt data of the key with this mark.
    NODES_WITHOUT_KEY = "SELECT id, seen_at, address, version, started_at, skew_us FROM node \
        WHERE key_mark <> $1 AND (next_key_mark <> $1) IS NOT FALSE AND seen_at >= $2";
    OTHER_NODES = "SELECT id, seen_at FROM node WHERE id <> $1";
    FORGET_NODE = "DELETE FROM node WHERE id = $1";
    FORGET_SILENT_NODE = "DELETE FROM node WHERE id = $1 AND seen_at < $2";
    /// Deletes the shares of a node, if there is one with this id, and of all nodes that are gone.
    FORGET_SHARES = "DELETE FROM share WHERE node = $1 OR NOT EXISTS (\
        SELECT 1 FROM node n WHERE n.id = share.node)";
}
