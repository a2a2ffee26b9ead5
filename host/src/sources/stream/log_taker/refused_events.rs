//! Events of the capture log that the database refuses after they were acknowledged. They are set
//! aside as dead letters with their contents, and captured from these when they are replayed.

use super::{LogRun, LogTaker, TakenMessage, lost};
use crate::ingest::accept::{take_logged_requests, test_logged_request};
use crate::ingest::capture_log::logged_request::LoggedRequest;
use crate::model::bad_row::{BadRow, BadRowReason};
use crate::model::source_run::CAPTURE_LOG;
use crate::sources::RunFailed;
use crate::store::error::DatabaseError;
use crate::store::{RowContent, RowsSetAside, SourceChanges, StoreError};

/// Largest content of an event that is set aside, in bytes.
const MOST_KEPT: usize = 1 << 20;
/// Most events that are replayed at a time.
const MOST_REPLAYED: i64 = 16;

impl LogRun<'_> {
    /// Commits a message that the database refuses without the events that it refuses. These are
    /// set aside with their contents.
    pub async fn commit_refused(
        &mut self,
        message: &TakenMessage,
        why: &DatabaseError,
    ) -> Result<Option<()>, StoreError> {
        let Ok(mut request) = message.read_request()? else { return Ok(Some(())) };
        let LogTaker { journal, live, .. } = self.taker;
        let (mut bad, mut good) = (Vec::new(), Vec::new());
        for (n, event) in request.events.iter().enumerate() {
            let alone = request.alone(event);
            match test_logged_request(journal, &live.current_settings(), alone).await {
                Ok(()) => good.push(event.clone()),
                Err(StoreError::Refused(why)) => {
                    bad.push(message.set_aside(&format!(".{n}"), &why, &request.alone(event)));
                }
                Err(error) => return Err(error),
            }
        }
        if bad.is_empty() {
            // What it refuses is not an event alone.
            bad.push(message.set_aside("", why, &request));
            good.clear();
        }
        request.events = good;
        match self.commit_requests(&message.origin, vec![request], bad).await {
            Err(StoreError::Refused(why)) => {
                let Ok(request) = message.read_request()? else { return Ok(Some(())) };
                let bad = vec![message.set_aside("", &why, &request)];
                self.commit_requests(&message.origin, Vec::new(), bad).await
            }
            committed => committed,
        }
    }

    /// Captures the events that were set aside and are to be replayed. Each is captured and its
    /// dead letter deleted in one commit. One that the database still refuses stays set aside.
    pub async fn replay_rows(&self) -> Result<(), RunFailed> {
        let journal = &self.taker.journal;
        for row in journal.list_replayed_rows(CAPTURE_LOG, MOST_REPLAYED).await? {
            let replayed = match self.replay_row(&row, None).await {
                Err(StoreError::Refused(why)) => self.replay_row(&row, Some(&why)).await,
                replayed => replayed,
            };
            replayed?.ok_or_else(lost)?;
        }
        Ok(())
    }

    /// Captures an event that was set aside, or sets it aside again if it is refused.
    async fn replay_row(
        &self,
        row: &RowContent,
        refusal: Option<&DatabaseError>,
    ) -> Result<Option<u64>, StoreError> {
        let LogTaker { journal, live, .. } = self.taker;
        let mut changes = SourceChanges::of(CAPTURE_LOG, self.began, "");
        let (list, at) = (row.list.clone(), journal.clock().now());
        changes.aside = RowsSetAside { list, at, ..RowsSetAside::default() };
        let read = LoggedRequest::read(row.content.as_bytes()).map_err(|why| why.to_string());
        let again = match (refusal, &read) {
            (Some(why), _) => Some(refused(why)),
            (None, Err(why)) => Some(why.clone()),
            (None, Ok(_)) => None,
        };
        let requests = match (again, read) {
            (None, Ok(request)) => {
                changes.aside.settled.push(row.row_id.clone());
                vec![request]
            }
            (why, _) => {
                let why = why.unwrap_or_default();
                let bad = BadRow::new(&row.row_id, BadRowReason::Invalid, &why);
                let (row_at, content) = (row.row_at, Some(row.content.clone()));
                changes.aside.bad.push(BadRow { row_at, content, ..bad });
                Vec::new()
            }
        };
        take_logged_requests(journal, &live.current_settings(), requests, changes).await
    }
}

impl TakenMessage {
    /// Returns the row for a request, or one of its events, that the database refuses. It has the
    /// content unless that is too large.
    fn set_aside(&self, part: &str, why: &DatabaseError, request: &LoggedRequest) -> BadRow {
        let sequence = self.origin.sequence;
        let why = refused(why);
        tracing::error!(
            sequence,
            part,
            why,
            "the database refuses a captured event; it is set aside"
        );
        let content = request.encode().ok().filter(|content| content.len() <= MOST_KEPT);
        let content = content.and_then(|content| String::from_utf8(content.to_vec()).ok());
        BadRow { content, ..self.bad_row(part, BadRowReason::Invalid, &why) }
    }
}

fn refused(why: &DatabaseError) -> String {
    format!("the database refused it: {why}")
}
