//! Ids of processes, and the lease tokens that begin with them.

/// Bits of a token that count; the id stands above them.
const COUNTER_BITS: u32 = 32;

/// A new process's id.
pub fn random_node() -> i64 {
    i64::from(rand::random::<u32>() >> 2) + 1
}

/// Where a process's lease tokens begin.
pub const fn first_token(node: i64) -> i64 {
    node << COUNTER_BITS
}
