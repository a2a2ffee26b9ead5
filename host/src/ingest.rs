//! Capture: turns requests into durable events.
//!
//! [`event_body`] reads the body of a request as [`incoming::IncomingEvent`] events, or lists its
//! faults field by field. [`accept`] gives the events ids, finds the endpoints and flows that they
//! match, and appends both in one commit. The caller is answered only after the commit.
//!
//! A webhook of another system is verified first ([`crate::signing::webhook`]), and then read by
//! the sender's own envelope ([`webhook_body`]). Its event names become those of the catalogue
//! ([`dialect`]), and [`repeats`] decides whether it repeats an earlier request. [`handshake`]
//! answers the questions that senders ask before they send. [`answer_capture`] makes events of what
//! receivers answer. With [`capture_log`], requests are appended to a replicated stream instead.

pub mod accept;
pub mod answer_capture;
pub mod body;
pub mod capture_log;
pub mod event_body;
pub mod handshake;
pub mod hops;
pub mod incoming;
pub mod message_body;
pub mod repeats;
pub mod source_decoder;
pub mod trace_headers;
pub mod webhook_body;

pub mod attributes;
pub mod cloudevents;
pub mod diagnose;
pub mod dialect;
pub mod items;
pub mod record_id;

/// Returns the event type for a name that Perfex CRM or one of its modules uses: `invoice.paid` for
/// `invoice_paid`. An unknown name without dots gets `source` as its first segment.
pub fn event_type(source: &str, name: &str) -> String {
    dialect::of_crm(source, name, None)
}
