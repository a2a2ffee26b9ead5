//! What a module may call where its manifest asks for it and the operator approved it.
//!
//! A capability that was not granted answers a permanent failure with the code `denied`. A failure
//! that a module hands on with `?` is the right answer of its role: refused is permanent, an outage
//! is tried again.

/// One function of the host: its binding on WebAssembly, its stand-in in native tests.
macro_rules! host_function {
    (
        $(#[$docs:meta])*
        $interface:ident::$name:ident($($argument:ident: $type:ty),*) -> $answer:ty
    ) => {
        $(#[$docs])*
        pub fn $name($($argument: $type),*) -> $answer {
            #[cfg(target_family = "wasm")]
            return crate::bindings::$interface::$name($($argument),*);
            #[cfg(not(target_family = "wasm"))]
            return crate::testing::fakes::$interface::$name($($argument),*);
        }
    };
}

/// Memory between events: keys of the flow, or of each record in it, as the manifest says.
///
/// Writes are committed with the plan of the event, so each counts exactly once. A role that fails has
/// changed nothing.
pub mod state {
    use crate::Failure;

    host_function! {
        /// The value of a key, a JSON text; none where it was never set, was removed or has
        /// expired.
        state::get(key: &str) -> Result<Option<String>, Failure>
    }
    host_function! {
        /// Sets a key to a JSON text, for good: an earlier [`expire`] no longer holds. 255 bytes
        /// for a key and 64 KiB for a value at most.
        state::set(key: &str, value: &str) -> Result<(), Failure>
    }
    host_function! {
        /// Sets a key only where its value is the one expected, byte for byte as [`get`] gave it;
        /// none expects no value. Says whether it was set.
        state::swap(key: &str, expected: Option<&str>, value: &str) -> Result<bool, Failure>
    }
    host_function! {
        /// Adds to a whole number, from 0 where there is none, and gives the sum. Anything but
        /// whole numbers within ±2^53 is a permanent failure.
        state::increment(key: &str, by: f64) -> Result<f64, Failure>
    }
    host_function! {
        /// Lets a key expire so many seconds after the event's capture. Says whether the key is
        /// there.
        state::expire(key: &str, seconds: u32) -> Result<bool, Failure>
    }
    host_function! {
        /// Removes a key; one that is not there is no fault.
        state::remove(key: &str) -> Result<(), Failure>
    }
}

/// Look-up in the records that Waybill keeps of its sources.
pub mod records {
    use crate::Failure;
    pub use crate::bindings::records::Found;

    host_function! {
        /// The record with an id. `source` is mostly the event's own.
        records::get(source: &str, resource: &str, id: &str) -> Result<Option<Found>, Failure>
    }
    host_function! {
        /// Records of which a field has a value, the newest change first, at most `limit` (1 to
        /// 100). The manifest must ask for an index on the field.
        records::find(source: &str, resource: &str, field: &str, value: &str, limit: u32)
            -> Result<Vec<Found>, Failure>
    }
}

/// Requests to hosts that the manifest names.
pub mod http {
    use crate::Failure;
    pub use crate::bindings::http_types::{Request, Response};

    host_function! {
        /// Makes a request and waits for the whole answer. Any status is an answer.
        http::send(request: &Request) -> Result<Response, Failure>
    }
}

/// Keys that a module uses and never sees.
pub mod secrets {
    pub use crate::bindings::secrets::{Encoding, Hash};
    use crate::{Body, Failure};

    host_function! {
        /// The HMAC of a message under a secret. A text is taken as its UTF-8, a `json` as it
        /// stands.
        secrets::hmac(secret: &str, hash: Hash, message: &Body, encoding: Encoding)
            -> Result<String, Failure>
    }
    host_function! {
        /// Whether this is the HMAC of a message, in constant time.
        secrets::verify(secret: &str, hash: Hash, message: &Body, encoding: Encoding, hmac: &str)
            -> Result<bool, Failure>
    }
}

/// Events for other flows.
pub mod emit {
    use crate::Failure;
    pub use crate::bindings::types::Fact;

    host_function! {
        /// Hands in an event of its own, which every flow gets that subscribes to its kind, and
        /// gives its id. A ninth hop is a permanent failure.
        emit::event(fact: &Fact) -> Result<String, Failure>
    }
}

/// Deliveries that still wait.
pub mod deliveries {
    use crate::Failure;

    host_function! {
        /// Cancels what waits in this flow under a [`crate::Dispatch::cancel_key`], with the commit
        /// of this event's plan; deliveries of this very plan stay.
        deliveries::cancel(key: &str) -> Result<(), Failure>
    }
}

/// Counters of the module's own, shown with its figures.
pub mod counters {
    host_function! {
        /// Adds to a counter that the manifest names. Any other name is left out, with one line in
        /// the log.
        counters::add(name: &str, by: u32) -> ()
    }
}

use crate::bindings::types::Fact;
use crate::{Failure, body};

impl Fact {
    /// A fact of a kind with `value` as its JSON payload, about no record, at the time of the
    /// event.
    ///
    /// A value that JSON has no form for is a permanent failure with the code `bad_output`.
    pub fn json<T: serde::Serialize + ?Sized>(
        kind: impl Into<String>,
        value: &T,
    ) -> Result<Self, Failure> {
        Ok(Self {
            kind: kind.into(),
            resource: None,
            subject: None,
            time: None,
            key: None,
            changes: None,
            attributes: Vec::new(),
            data: body::encode(value)?,
        })
    }
}
