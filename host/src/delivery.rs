//! Makes deliveries: renders, signs and sends each one, and judges the answer.
//!
//! [`dispatcher`] runs one [`lane`] for each endpoint, so a slow or dead endpoint delays no other.
//! A lane gets deliveries that were leased to this process when they were stored, and claims due
//! deliveries from the table. For each it makes an [`attempt`]: it renders the body ([`envelope`]),
//! signs the request ([`crate::signing`]), sends it ([`crate::net::http_client`]), judges the
//! answer ([`judge`]), and records the attempt and the new state in one transaction. Endpoints of
//! other kinds than `webhook` are served by their channel ([`channel_attempt`],
//! [`crate::channels`]), or by a request of one of their operations ([`api_attempt`]). Consumers
//! fetch those of kind `pull` ([`offers`]).
//!
//! Guarantees: a delivery that is recorded as sent was sent, and every due delivery is attempted,
//! even after a crash. Delivery is at least once, not exactly once: after a crash between sending
//! and recording, the request is sent again with the same `webhook-id`.

pub mod api_answer;
pub mod api_attempt;
pub mod api_request;
pub mod attempt;
pub mod attempt_spans;
pub mod authorized;
pub mod changes;
pub mod channel_attempt;
pub mod dispatcher;
pub mod envelope;
pub mod exchange_record;
pub mod judge;
pub mod lane;
pub mod leased_attempt;
pub mod message_parts;
pub mod offers;
pub mod places;
pub mod refresh_token;
pub mod templated;
pub mod token_request;
pub mod token_source;
pub mod rate_gate;
pub mod sharing;
pub mod turn;
