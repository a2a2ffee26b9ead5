//! Ids of processes, and the lease tokens that begin with them.

/// Bits of a token that count leases. The id is above them.
const COUNTER_BITS: u32 = 32;

/// Returns an id for a new process.
pub fn random_node() -> i64 {
    i64::from(rand::random::<u32>() >> 2) + 1
}

/// Returns the first lease token of a process.
pub const fn first_token(node: i64) -> i64 {
    node << COUNTER_BITS
}
