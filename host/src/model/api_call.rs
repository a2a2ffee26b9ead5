//! The record of a call of the API.

use super::id::{RequestId, TokenId};
use crate::time::timestamp::Timestamp;
use core::net::IpAddr;
use std::time::Duration;

/// Records who called which route, from where, and the result. It never holds the content of the
/// request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiCall {
    /// The request's id, as the answer carried it. It also contains the time.
    pub id: RequestId,
    /// The token of the call, if it is known.
    pub token: Option<TokenId>,
    /// The address of the caller.
    pub address: IpAddr,
    pub method: String,
    /// The route with the names of its parameters, not their values.
    pub route: String,
    pub status: u16,
    /// Time from the request to the answer.
    pub duration: Duration,
    /// The number of calls. It exceeds 1 if the row stands for all unauthenticated calls of an
    /// address within a minute.
    pub calls: u32,
}

/// The use of a token that must survive a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenUsage {
    pub token: TokenId,
    /// Start of the present window of calls, in seconds since 1970.
    pub window_began: i64,
    pub calls: u32,
    pub last_used_at: Timestamp,
}
