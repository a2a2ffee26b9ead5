//! A call of the API, as it stays on record.

use super::id::{RequestId, TokenId};
use crate::time::timestamp::Timestamp;
use core::net::IpAddr;
use std::time::Duration;

/// Who called what, from where, and what came of it; never what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiCall {
    /// The request's id, as its answer carried it; tells the time too.
    pub id: RequestId,
    /// The token that was shown, if it is known.
    pub token: Option<TokenId>,
    /// Where it came from.
    pub address: IpAddr,
    /// The HTTP method.
    pub method: String,
    /// The route, with its parameters' names in place of what was asked for.
    pub route: String,
    /// The status of the answer.
    pub status: u16,
    /// How long the answer took.
    pub duration: Duration,
    /// More than one where a row stands for all calls of an address in a minute that nobody known
    /// made.
    pub calls: u32,
}

/// How a token is being used: what must not begin anew with a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenUsage {
    pub token: TokenId,
    /// When its present window of calls began, in seconds since 1970.
    pub window_began: i64,
    /// Calls in that window.
    pub calls: u32,
    /// When it was last used.
    pub last_used_at: Timestamp,
}
