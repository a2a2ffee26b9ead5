//! What a process says of itself to others that share its database.

use crate::crypto::digest::ShortDigest;
use crate::time::timestamp::Timestamp;

/// What a process says of itself.
#[derive(Debug, Clone)]
pub struct NodeDescription {
    /// The address and port that it listens on.
    pub address: String,
    pub version: &'static str,
    pub started_at: Timestamp,
    /// By this other nodes see whether they read stored secrets with the same key.
    pub key_mark: ShortDigest,
    /// The same of the key that it takes too, while the key is being changed.
    pub next_key_mark: Option<ShortDigest>,
}
