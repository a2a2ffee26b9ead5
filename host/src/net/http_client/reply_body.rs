//! Reads the body of a reply, within a bound of bytes and time.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, timeout_at};

/// Reads the start of a body. Also returns whether the body is longer, broke off or did not arrive
/// in time. The bytes that arrived are returned in each case.
pub async fn read_start(mut body: Incoming, deadline: Instant, most: usize) -> (Bytes, bool) {
    let mut start = BodyStart { most, ..BodyStart::default() };
    while !body.is_end_stream() {
        match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                let data = frame.into_data().unwrap_or_default();
                if !start.take(data) {
                    return (start.joined(), true);
                }
            }
            Ok(None) => break,
            Ok(Some(Err(_))) | Err(_) => return (start.joined(), true),
        }
    }
    (start.joined(), false)
}

/// The first bytes of a body. Most bodies arrive in one piece, which is not copied.
#[derive(Default)]
struct BodyStart {
    most: usize,
    first: Bytes,
    rest: BytesMut,
}

impl BodyStart {
    /// Appends the bytes that fit. Returns whether all did.
    fn take(&mut self, mut data: Bytes) -> bool {
        let room = self.most.saturating_sub(self.first.len() + self.rest.len());
        let fits = data.len() <= room;
        data.truncate(room);
        if self.first.is_empty() {
            self.first = data;
        } else {
            self.rest.extend_from_slice(&data);
        }
        fits
    }

    fn joined(self) -> Bytes {
        if self.rest.is_empty() {
            return self.first;
        }
        let mut whole = BytesMut::with_capacity(self.first.len() + self.rest.len());
        whole.extend_from_slice(&self.first);
        whole.extend_from_slice(&self.rest);
        whole.freeze()
    }
}
