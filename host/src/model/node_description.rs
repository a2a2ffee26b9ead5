//! The description of a process for the other processes that share its database.

use crate::crypto::digest::ShortDigest;
use crate::time::timestamp::Timestamp;

/// The description of a process.
#[derive(Debug, Clone)]
pub struct NodeDescription {
    /// The address and port that the process listens on.
    pub address: String,
    pub version: &'static str,
    pub started_at: Timestamp,
    /// A digest by which other nodes see whether they read stored secrets with the same key.
    pub key_mark: ShortDigest,
    /// The digest of the next key, while the key is being changed.
    pub next_key_mark: Option<ShortDigest>,
}
