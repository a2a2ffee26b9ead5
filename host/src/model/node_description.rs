//! What a process says of itself to others that share its database.

use crate::crypto::digest::ShortDigest;
use crate::time::timestamp::Timestamp;

/// What a process says of itself.
#[derive(Debug, Clone)]
pub struct NodeDescription {
    /// Where it serves.
    pub address: String,
    pub version: &'static str,
    pub started_at: Timestamp,
    /// Of the key that it reads stored secrets with.
    pub key_mark: ShortDigest,
}
