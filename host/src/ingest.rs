//! Capture: what arrives becomes a durable event.
//!
//! [`event_body`] turns a request's body into [`incoming::IncomingEvent`] events or says what is
//! wrong with it, field by field; [`accept`] gives them ids, finds who takes them and appends both
//! in one commit. Only after that is the caller answered.
//!
//! What another system sends of its own accord is verified first ([`crate::signing::webhook`]) and
//! read by its own envelope ([`webhook_body`]); the names it gives its events become those of the
//! catalogue, and [`repeats`] says what makes it the repeat of an earlier one. [`handshake`]
//! answers what senders ask before they send.

pub mod accept;
pub mod body;
pub mod event_body;
pub mod handshake;
pub mod hops;
pub mod incoming;
pub mod repeats;
pub mod webhook_body;

pub mod attributes;
pub mod cloudevents;
pub mod diagnose;
pub mod dialect;
pub mod items;
pub mod record_id;

/// The event type of a name that a Perfex CRM or a module of it uses: `invoice_paid` is
/// `invoice.paid`. A name that nobody knows and that has no dots stands behind `source`.
pub fn event_type(source: &str, name: &str) -> String {
    dialect::of_crm(source, name, None)
}
