//! Digests, message authentication, signed assertions, encryption at rest, and files that only
//! their owner may read.

pub mod assertion_key;
pub mod digest;
pub mod private_file;
pub mod seal;
pub mod sha256;
