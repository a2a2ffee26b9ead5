//! The record of a call of the API.

use super::id::{RequestId, TokenId};
use crate::time::timestamp::Timestamp;
use core::net::IpAddr;
use std::time::Duration;

/// Records who called which route, from where, and the result. It never holds what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiCall {
    /// The request's id, as the answer carried it. It also contains the time.
    pub id: RequestId,
    /// The token of the call, if it is known.
    pub token: Option<TokenId>,
    /// The address of the caller.
    pub address: IpAddr,
    /// The HTTP method.
    pub method: String,
    /// The route with the names of its parameters, not their values.
    pub route: String,
    /// The status of the answer.
    pub status: u16,
    /// How long the answer took.
    pub duration: Duration,
    /// The number of calls. It exceeds 1 if the row stands for all unauthenticated calls of an
    /// address within a minute.
    pub calls: u32,
}

/// The use of a token that must survive a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenUsage {
    pub token: TokenId,
    /// When the present window of calls began, in seconds since 1970.
    pub window_began: i64,
    /// The number of calls in that window.
    pub calls: u32,
    /// When the token was last used.
    pub last_used_at: Timestamp,
}
