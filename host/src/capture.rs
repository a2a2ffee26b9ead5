//! Capture: what arrives becomes a durable event.
//!
//! [`read`] turns a request's body into [`incoming::Incoming`] events or says what is wrong with it, field by
//! field; [`accept`] gives them ids, finds who takes them and appends both in one commit. Only after
//! that is the caller answered.

pub mod accept;
pub mod incoming;
pub mod read;

mod cloudevents;
mod diagnose;
