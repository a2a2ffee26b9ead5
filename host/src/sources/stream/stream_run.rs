//! What a run does with messages.

use crate::ingest::accept::check_sources;
use crate::ingest::incoming::IncomingEvent;
use crate::model::bad_row::BadRow;
use crate::model::source_run::StreamPosition;
use crate::sources::RunFailed;
use crate::sources::run::SourceRun;
use crate::time::timestamp::Timestamp;

impl SourceRun {
    /// Captures the events of messages, sets the bad ones aside and stores the source's memory, in
    /// one commit. Each row is named once, and there are at most [`crate::sources::run::EVENTS`]
    /// events.
    pub async fn take_messages(
        &self,
        list: &str,
        events: Vec<IncomingEvent>,
        bad: Vec<BadRow>,
        memory: &str,
    ) -> Result<(), RunFailed> {
        let mut changes = self.changes_of_list(list);
        changes.aside.bad = bad;
        changes.memory = Some(memory.to_owned());
        self.commit_changes(events, changes).await
    }

    /// Returns why the source refuses these events, or `None` if it takes them. Fails if it is
    /// paused.
    pub fn find_refusal(&self, events: &[IncomingEvent]) -> Result<Option<String>, RunFailed> {
        let snapshot = self.current_settings();
        let source = snapshot.find_source(&self.source().settings.name);
        if !source.is_some_and(|source| source.settings.enabled) {
            return Err(RunFailed::new("the source was paused, renamed or deleted"));
        }
        let faults = check_sources(&snapshot, events, events.len() > 1).err();
        Ok(faults.and_then(|faults| faults.into_iter().next()).map(|fault| fault.message))
    }

    /// Records where a source stands in its stream or queue, and that it is well. All that was
    /// published before `complete_until` is captured; `None` if messages wait at the broker.
    pub fn note_stream(&self, position: StreamPosition, complete_until: Option<Timestamp>) {
        let now = self.now();
        let mut report = self.lock_report();
        report.complete_until = report.complete_until.max(complete_until.or(position.last_at));
        report.stream = Some(position);
        report.error = None;
        report.failures = 0;
        drop(report);
        self.health().note_success(now);
    }
}
