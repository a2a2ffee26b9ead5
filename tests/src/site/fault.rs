//! The faults of a site.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::Response;
use hyper::body::{Body, Frame};
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use serde_json::{Value, json};

use super::time;

/// The answer to a request instead of rows.
#[derive(Debug, Clone)]
pub enum Fault {
    /// 429 with the seconds to wait in `Retry-After`.
    Busy(u32),
    /// 429 with the time until which to wait in `Retry-After`, this many seconds from now.
    BusyUntil(u32),
    /// 429 with the seconds to wait in its body's `retry_after`.
    BusyInBody(u32),
    /// This status with an error in JSON.
    Status(u16),
    /// 200 with a body that is not JSON.
    Nonsense,
    /// 200 with JSON that contains no rows.
    NoRows,
    /// 200 with exactly these bytes.
    Exactly(Vec<u8>),
    /// 200 and rows without end.
    Endless,
    /// 200 and half of an answer, then the connection is cut.
    Cut,
    /// The connection is closed without an answer.
    Vanish,
    /// No answer.
    Hang,
}

/// The connection ends here.
#[derive(Debug)]
pub(super) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the test says to cut the connection")
    }
}

impl std::error::Error for Cut {}

impl Fault {
    /// Returns the answer, or `None` if there must not be one.
    pub(super) fn response(&self, now: i64) -> Option<Response<Play>> {
        let busy = |header: Option<String>, body: &Value| {
            let response = Response::builder().status(429);
            let response = header.into_iter().fold(response, |r, text| r.header(RETRY_AFTER, text));
            response.body(Play::whole(body.to_string())).expect("a valid header")
        };
        let error = json!({"error": "too many requests"});
        Some(match self {
            Self::Busy(seconds) => busy(Some(seconds.to_string()), &error),
            Self::BusyUntil(seconds) => {
                busy(Some(time::http_date(now + i64::from(*seconds))), &error)
            }
            Self::BusyInBody(seconds) => busy(None, &json!({"retry_after": seconds})),
            Self::Status(status) => {
                answer(*status, Play::whole(json!({"error": "it broke"}).to_string()))
            }
            Self::Nonsense => answer(200, Play::whole("<html><b>Fatal error</b>: line 3</html>")),
            Self::NoRows => answer(200, Play::whole(json!({"message": "welcome"}).to_string())),
            Self::Exactly(bytes) => answer(200, Play::whole(bytes.clone())),
            Self::Endless => answer(200, Play::endless()),
            Self::Cut => answer(200, Play::cut()),
            Self::Vanish | Self::Hang => return None,
        })
    }
}

/// Returns an answer in JSON.
pub(super) fn answer(status: u16, body: Play) -> Response<Play> {
    let response = Response::builder().status(status).header(CONTENT_TYPE, "application/json");
    response.body(body).expect("a valid header")
}

/// A body: its beginning, and its continuation.
#[derive(Debug)]
pub(super) struct Play {
    first: Option<Bytes>,
    end: End,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Done,
    Cut,
    Endless,
}

impl Play {
    /// Returns a body with only this text.
    pub(super) fn whole(text: impl Into<Bytes>) -> Self {
        Self { first: Some(text.into()), end: End::Done }
    }

    fn cut() -> Self {
        Self { first: Some(Bytes::from_static(br#"{"data":[{"id":1,"#)), end: End::Cut }
    }

    fn endless() -> Self {
        Self { first: Some(Bytes::from_static(br#"{"data":[{"id":0}"#)), end: End::Endless }
    }
}

impl Body for Play {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        Poll::Ready(match self.end {
            End::Done => None,
            End::Cut => Some(Err(Cut)),
            End::Endless => Some(Ok(Frame::data(br#",{"id":0}"#.repeat(8_000).into()))),
        })
    }
}
