//! Translates the client's errors into a class and a sentence.

use super::SendError;
use super::connection::ConnectionWatch;
use super::dial::DialError;
use super::permit::PermitLost;
use crate::net::error_class::ErrorClass;
use crate::net::tls_trust;
use crate::time::span::TimeSpan;
use hyper_util::client::legacy;
use std::error::Error as StdError;
use std::io;
use std::time::Duration;

/// Returns why a request got no reply.
pub fn classify_error(error: &legacy::Error, duration: Duration) -> SendError {
    let causes = causes(error);
    if let Some(dial) = find::<DialError>(&causes) {
        return SendError { class: class_of_dial(dial), detail: dial.to_string(), duration };
    }
    let innermost = causes.last().map(ToString::to_string).unwrap_or_default();
    if error.is_connect() {
        // The dialler did not report an error, so the TCP connection was made and TLS failed.
        let hint = find::<rustls::Error>(&causes).and_then(tls_trust::tls_hint);
        let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
        let detail = format!("the TLS handshake failed: {innermost}{hint}");
        return SendError { class: ErrorClass::Tls, detail, duration };
    }
    if is_lost(&causes) {
        let detail = format!("the connection broke before a reply arrived: {innermost}");
        return SendError { class: ErrorClass::ConnectionLost, detail, duration };
    }
    let detail = format!("the reply is not valid HTTP: {innermost}");
    SendError { class: ErrorClass::Protocol, detail, duration }
}

/// Whether a connection that had been used before was closed or reset before a byte of an answer
/// arrived. Over HTTP/2, where requests share a connection, before the head of this answer arrived.
pub fn is_stale_connection(error: &legacy::Error) -> bool {
    let causes = causes(error);
    let mut extras = http::Extensions::new();
    if let Some(connection) = error.connect_info() {
        connection.get_extras(&mut extras);
    }
    let stale = extras.get::<ConnectionWatch>().is_some_and(ConnectionWatch::was_stale);
    // A request that the receiver refused to begin may be sent again (RFC 9113, section 8.7).
    let refused = find::<h2::Error>(&causes)
        .is_some_and(|error| error.reason() == Some(h2::Reason::REFUSED_STREAM));
    stale && (refused || is_lost(&causes))
}

/// Whether the request was stopped because its permit was lost.
pub fn is_permit_lost(error: &legacy::Error) -> bool {
    find::<PermitLost>(&causes(error)).is_some()
}

/// Whether the connection broke, or was closed because the other side did not answer a PING.
fn is_lost(causes: &[&(dyn StdError + 'static)]) -> bool {
    find::<io::Error>(causes).is_some()
        || find::<h2::Error>(causes).is_some_and(|error| error.is_go_away() || error.is_io())
        || find::<hyper::Error>(causes).is_some_and(is_lost_connection)
}

fn is_lost_connection(error: &hyper::Error) -> bool {
    error.is_incomplete_message() || error.is_closed() || error.is_canceled() || error.is_timeout()
}

/// Returns the error of a time-out.
pub fn timed_out(timeout: Duration, duration: Duration) -> SendError {
    let detail = format!("no reply within {}", TimeSpan::new(timeout));
    SendError { class: ErrorClass::Timeout, detail, duration }
}

/// Returns the class of a failure to connect.
pub fn class_of_dial(error: &DialError) -> ErrorClass {
    match error {
        DialError::Forbidden(_) => ErrorClass::AddressForbidden,
        DialError::Dns { .. } | DialError::NoAddress(_) => ErrorClass::Dns,
        DialError::Tcp(_) => ErrorClass::Connect,
    }
}

/// Returns an error and all its causes, outermost first. An [`io::Error`] does not report the error
/// that it wraps as its source, so that one is unwrapped.
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
