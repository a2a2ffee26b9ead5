//! Deliveries: sign, send, judge.

pub mod address;
pub mod canonical;
pub mod client;
pub mod envelope;
pub mod judge;
pub mod sign;
