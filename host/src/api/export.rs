//! Exports lists as one JSON object a line, read and sent piece by piece.

use super::problem::ApiProblem;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header;
use serde::Serialize;
use std::io;

/// Answers with everything that `read` returns, as a file with the given name. `read` receives the
/// end of the previous piece; a piece without an end is the last.
pub fn stream_lines<C, I, T, R>(
    name: &str,
    context: C,
    read: impl Fn(C, Option<I>) -> R + Send + 'static,
) -> Response
where
    C: Clone + Send + 'static,
    I: Send + 'static,
    T: Serialize,
    R: Future<Output = Result<(Vec<T>, Option<I>), ApiProblem>> + Send + 'static,
{
    let pieces = stream::try_unfold(Some((context, read, None)), |state| async move {
        let Some((context, read, before)) = state else { return Ok(None) };
        let (rows, end) = read(context.clone(), before).await.map_err(failed)?;
        let mut text = Vec::new();
        for row in rows {
            serde_json::to_writer(&mut text, &row)?;
            text.push(b'\n');
        }
        let next = end.map(|end| (context, read, Some(end)));
        Ok::<_, io::Error>(Some((Bytes::from(text), next)))
    });
    let file = format!("attachment; filename=\"{name}\"");
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson".to_owned()),
        (header::CONTENT_DISPOSITION, file),
    ];
    (headers, Body::from_stream(pieces)).into_response()
}

/// The answer has begun, so the only way to report a failure is to break it off.
fn failed(problem: ApiProblem) -> io::Error {
    io::Error::other(problem.detail)
}
