//! Deliveries: sign, send, judge.
//!
//! [`dispatcher`] runs one [`lane`] for each endpoint, so that a slow or dead endpoint delays
//! nobody else. A lane takes deliveries that were born leased, claims from the table what is due,
//! and makes each [`attempt`]: render the body ([`envelope`]), sign it ([`crate::signing`]), send
//! it ([`crate::net::http_client`]), judge the answer ([`judge`]), record attempt and new state in
//! one transaction. An endpoint of another kind than `webhook` is sent to by its channel
//! ([`channel_attempt`], [`crate::channels`]), or by a request of one of its operations
//! ([`api_attempt`]).
//!
//! Guaranteed: what is recorded as sent was sent; every due delivery is attempted, also after a
//! crash. Not guaranteed: exactly once. A crash between sending and recording sends again with the
//! same `webhook-id`.

pub mod api_answer;
pub mod api_attempt;
pub mod api_request;
pub mod attempt;
pub mod authorized;
pub mod changes;
pub mod channel_attempt;
pub mod dispatcher;
pub mod envelope;
pub mod judge;
pub mod lane;
pub mod message_parts;
pub mod places;
pub mod refresh_token;
pub mod templated;
pub mod token_request;
pub mod token_source;
pub mod rate_gate;
pub mod sharing;
pub mod turn;
