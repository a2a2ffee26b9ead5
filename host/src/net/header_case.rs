//! Writes header names in the case in which they were typed, for receivers that depend on it.
//!
//! HTTP compares header names without case, and hyper writes them in lower case. Some old receivers
//! look for `SOAPAction`. hyper preserves the case of headers that it has read, and writes that
//! case if a request carries it, but it has no way to set the case. This module therefore lets
//! hyper read a head with the wanted names. HTTP/2 only has lower case.

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Extensions, Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::ready;
use std::sync::{Mutex, PoisonError};

/// Returns the extensions that make a request write these names as they are. Returns `None` if all
/// names are in lower case.
pub fn header_case<'n>(names: impl IntoIterator<Item = &'n str>) -> Option<Extensions> {
    let mut head = b"GET / HTTP/1.1\r\n".to_vec();
    let empty = head.len();
    for name in names.into_iter().filter(|name| name.bytes().any(|b| b.is_ascii_uppercase())) {
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": \r\n");
    }
    if head.len() == empty {
        return None;
    }
    head.extend_from_slice(b"\r\n");
    read_extensions(&head)
}

fn read_extensions(head: &[u8]) -> Option<Extensions> {
    let found = Mutex::new(None);
    let service = service_fn(|request: Request<Incoming>| {
        let extensions = request.into_parts().0.extensions;
        *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(extensions);
        ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
    });
    let io = TokioIo::new(tokio::io::join(head, tokio::io::sink()));
    let reading = http1::Builder::new().preserve_header_case(true).serve_connection(io, service);
    // The reader is in memory, so it never waits. `unconstrained` keeps the scheduler from making
    // it yield.
    drop(tokio::task::unconstrained(reading).now_or_never());
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_with_upper_case_need_extensions() {
        assert!(header_case([]).is_none());
        assert!(header_case(["x-token", "soapaction"]).is_none());
        assert!(header_case(["x-token", "SOAPAction"]).is_some());
    }
}
