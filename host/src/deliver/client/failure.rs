//! From the client's errors to a class and a sentence.

use super::SendError;
use super::dial::DialError;
use crate::deliver::judge::ErrorClass;
use crate::domain::span::Span;
use hyper_util::client::legacy;
use std::error::Error as StdError;
use std::io;
use std::time::Duration;

/// Why a request got no reply.
pub(super) fn classify(error: &legacy::Error, duration: Duration) -> SendError {
    let causes = causes(error);
    if let Some(dial) = find::<DialError>(&causes) {
        return SendError { class: class_of_dial(dial), detail: dial.to_string(), duration };
    }
    let innermost = causes.last().map(ToString::to_string).unwrap_or_default();
    if error.is_connect() {
        // The connection stood, else the dialler had spoken: what failed on it is TLS.
        let detail = format!("the TLS handshake failed: {innermost}");
        return SendError { class: ErrorClass::Tls, detail, duration };
    }
    let broken =
        find::<hyper::Error>(&causes).is_some_and(|e| e.is_incomplete_message() || e.is_closed());
    if broken || find::<io::Error>(&causes).is_some() {
        let detail = format!("the connection broke before a reply came: {innermost}");
        return SendError { class: ErrorClass::ConnectionLost, detail, duration };
    }
    let detail = format!("the reply is not valid HTTP: {innermost}");
    SendError { class: ErrorClass::Protocol, detail, duration }
}

/// The time-out's error.
pub(super) fn timed_out(timeout: Duration, duration: Duration) -> SendError {
    let detail = format!("no reply within {}", Span::new(timeout));
    SendError { class: ErrorClass::Timeout, detail, duration }
}

fn class_of_dial(error: &DialError) -> ErrorClass {
    match error {
        DialError::Forbidden(_) => ErrorClass::AddressForbidden,
        DialError::Dns { .. } | DialError::NoAddress(_) => ErrorClass::Dns,
        DialError::Tcp(_) => ErrorClass::Connect,
    }
}

/// An error and all it is caused by, outermost first. An [`io::Error`] does not name what it wraps as its source.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> Vec<&'a (dyn StdError + 'static)> {
    let mut causes = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        causes.push(cause);
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => cause.source(),
        };
    }
    causes
}

fn find<'a, E: StdError + 'static>(causes: &[&'a (dyn StdError + 'static)]) -> Option<&'a E> {
    causes.iter().find_map(|cause| cause.downcast_ref())
}
