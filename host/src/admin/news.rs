//! `GET /admin/live` tells an open page that something happened, so that it redraws its live parts.
//!
//! The stream carries only a number. A page that receives it loads itself again, as its reader
//! would by hand, so the same guard decides what it may show. The number comes from counters in
//! memory, so watching costs no database query. These counters do not include other nodes, so a
//! page also reloads every [`UNASKED`] seconds without news.

use super::PageState;
use super::call::PageCall;
use crate::api::problem::ApiProblem;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, HeaderValue, header};
use std::convert::Infallible;
use std::time::Duration;

/// How often the counters are read.
const LOOK: Duration = Duration::from_secs(1);
/// Fewest looks between two news messages.
const SPACING: u32 = 3;
/// Looks after which a quiet stream sends a comment, so that the connection does not count as idle.
const SIGN_OF_LIFE: u32 = 5;
/// Looks after which a page reloads although nothing happened on this node.
const UNASKED: u32 = 20;
/// Looks after which a stream ends. The browser then opens another one, and its session is checked
/// again.
const LIFE: u32 = 600;

/// An open stream. It counts for its session until it is dropped.
struct LiveStream {
    pages: PageState,
    session: String,
    /// The count at the last news message.
    said: u64,
    looks: u32,
    said_at: u32,
}

impl Drop for LiveStream {
    fn drop(&mut self) {
        self.pages.sessions.leave_stream(&self.session);
    }
}

/// Opens a stream, unless the session has too many.
pub async fn open_stream(call: PageCall) -> Response {
    if !call.pages.sessions.enter_stream(&call.session) {
        let detail =
            "too many open pages update themselves; close some, or reload this page by hand";
        return ApiProblem::too_many(detail, SIGN_OF_LIFE).into_response();
    }
    let said = count_all(&call.pages);
    let live = LiveStream { pages: call.pages, session: call.session, said, looks: 0, said_at: 0 };
    let news = stream::unfold(live, |mut live| async move {
        let text = live.next_text().await?;
        Some((Ok::<_, Infallible>(text), live))
    });
    let mut response = Body::from_stream(news).into_response();
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    // This header stops proxies from buffering the stream.
    let gathering = HeaderName::from_static("x-accel-buffering");
    response.headers_mut().insert(gathering, HeaderValue::from_static("no"));
    response
}

/// Returns the count of everything that this node recorded since its start.
fn count_all(pages: &PageState) -> u64 {
    pages.app.journal.metrics().store.count_recorded()
}

impl LiveStream {
    /// Returns the next message. Returns `None` once the session is over, its token is no longer
    /// valid, the server stops, or the stream has reached its longest life.
    async fn next_text(&mut self) -> Option<Bytes> {
        let stopping = self.pages.app.stopping.clone();
        loop {
            tokio::select! {
                () = stopping.cancelled() => return None,
                () = tokio::time::sleep(LOOK) => self.looks += 1,
            }
            if self.looks > LIFE || !self.is_allowed() {
                return None;
            }
            let quiet = self.looks - self.said_at;
            let count = count_all(&self.pages);
            if (count != self.said && quiet >= SPACING) || quiet >= UNASKED {
                (self.said, self.said_at) = (count, self.looks);
                return Some(Bytes::from(format!("event: news\ndata: {count}\n\n")));
            }
            if self.looks.is_multiple_of(SIGN_OF_LIFE) {
                return Some(Bytes::from_static(b":\n\n"));
            }
        }
    }

    fn is_allowed(&self) -> bool {
        let now = self.pages.app.journal.clock().now();
        let session = self.pages.sessions.find_session(&self.session, now);
        let settings = self.pages.app.live.current_settings();
        let token = session.and_then(|session| settings.find_token(&session.token).cloned());
        token.is_some_and(|token| token.settings.expires_at.is_none_or(|end| end > now))
    }
}
