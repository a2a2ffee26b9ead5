//! `GET /admin/live`: says that something happened, so that an open page draws its parts again.
//!
//! The stream carries a number and nothing else. A page that hears it asks for itself once more, as
//! its reader would by hand, so the same guard decides what it may show. The number comes from
//! counters in memory: watching costs the database nothing. What other nodes do is not counted
//! here, so a page also looks by itself every [`UNASKED`].

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

/// How often the counters are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Looks between two things that are said at least.
const SPACING: u32 = 3;
/// Looks after which a stream says something although nothing happened, so that the connection is
/// not taken for one that rests.
const SIGN_OF_LIFE: u32 = 5;
/// Looks after which a page shall look although nothing happened here.
const UNASKED: u32 = 20;
/// Looks after which a stream ends. The browser opens another, and is asked for its session again.
const LIFE: u32 = 600;

/// A stream that is open. It counts as its session's until it is dropped.
struct LiveStream {
    pages: PageState,
    session: String,
    /// The counters when something was said last.
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
        let detail = "too many open pages follow what happens; close some, or load pages by hand";
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
    // Proxies that gather answers before they pass them on know this header.
    let gathering = HeaderName::from_static("x-accel-buffering");
    response.headers_mut().insert(gathering, HeaderValue::from_static("no"));
    response
}

/// Counts everything that this node recorded since its start.
fn count_all(pages: &PageState) -> u64 {
    pages.app.journal.metrics().store.count_recorded()
}

impl LiveStream {
    /// What is said next. None once the session is over, its token is not good any more, the server
    /// stops, or the stream has lived long enough.
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
