//! Write Waybill modules in Rust.
//!
//! A module is a crate of type `cdylib` that implements one or more of six roles and names them
//! in [`export_module!`]. The host runs `filter`, then `transform`, then `route`, each once for an
//! event, in an instance that is made for that event and dropped after it. [`Channel`] delivers to a
//! kind of receiver, [`Source`] decodes the requests of a sender, and [`Puller`] asks a paged API.
//!
//! ```
//! use serde::Deserialize;
//! use waybill_guest::field::Cents;
//! use waybill_guest::{Dispatch, Event, Failure, Filter, Route, Verdict, config, export_module};
//!
//! #[derive(Deserialize)]
//! struct Invoice {
//!     total: Cents,
//! }
//!
//! struct LargeInvoices;
//!
//! impl Filter for LargeInvoices {
//!     fn check(event: Event) -> Result<Verdict, Failure> {
//!         let invoice: Invoice = event.data()?;
//!         let least: Cents = config::require("least")?;
//!         if invoice.total < least {
//!             return Ok(Verdict::drop(format!("{} is less than {least}", invoice.total)));
//!         }
//!         Ok(Verdict::Keep)
//!     }
//! }
//!
//! impl Route for LargeInvoices {
//!     fn plan(_: Event) -> Result<Vec<Dispatch>, Failure> {
//!         Ok(vec![Dispatch::to(config::require::<String>("destination")?)])
//!     }
//! }
//!
//! export_module!(LargeInvoices: filter, route);
//! # fn main() {
//! # use waybill_guest::testing::{self, Host};
//! # let host = Host::with_config(serde_json::json!({"least": "100.00"}));
//! # let event = testing::event("invoice.created", serde_json::json!({"total": "99.99"}));
//! # assert_eq!(LargeInvoices::check(event), Ok(Verdict::Drop("99.99 is less than 100.00".into())));
//! # drop(host);
//! # }
//! ```
//!
//! It compiles with `cargo build --target wasm32-wasip2` to a component, and natively for
//! `cargo test`: there nothing is exported, and [`testing`] stands in for the host.
//!
//! A module has no clock, no network and no files of its own: one that asks the standard library for
//! them gets an error or a fixed answer. What a manifest asks for and an operator approved is there as
//! [`state`], [`records`], [`http`], [`secrets`], [`emit`], [`deliveries`] and [`counters`].

#[expect(
    clippy::mem_forget,
    clippy::same_length_and_capacity,
    reason = "generated from wit/ by wit-bindgen, which hands memory over the component boundary"
)]
#[doc(hidden)]
pub mod bindings;
mod body;
mod capabilities;
mod channel;
pub mod config;
pub mod decimal;
mod dispatch;
mod draft;
mod event;
mod failure;
pub mod field;
pub mod log;
mod origin;
mod roles;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use bindings::decoded::{Decoded, Inbound};
pub use bindings::dispatch::Dispatch;
pub use bindings::outcome::{Delivery, Outcome};
pub use bindings::step::Step;
pub use bindings::types::{Body, Changes, Draft, Event, Failure, Reason, Retry};
pub use bindings::verdict::Verdict;
pub use capabilities::{counters, deliveries, emit, http, records, secrets, state};
pub use roles::{Channel, Filter, Puller, Route, Source, Transform};
