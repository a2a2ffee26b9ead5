//! Answers of receivers that become events.

use super::accept::capture_event;
use super::incoming::IncomingEvent;
use super::repeats::RepeatKeys;
use crate::model::answer_event::AnswerEvent;
use crate::settings::SettingsSnapshot;
use crate::store::{EventCapture, EventStore};

/// Makes the capture of an answer, to be written with the attempt that got it. It is planned like
/// any other event.
pub fn capture_answer(
    journal: &EventStore,
    snapshot: &SettingsSnapshot,
    answer: AnswerEvent,
) -> EventCapture {
    let attributes = answer.attributes();
    let incoming = IncomingEvent {
        source: Some(answer.source),
        resource: answer.resource,
        resource_id: answer.resource_id,
        data_names_record: false,
        attributes,
        ..IncomingEvent::new(answer.event_type, answer.data)
    };
    let (capture, _matches) =
        capture_event(journal, snapshot, incoming, (RepeatKeys::default(), None));
    // The data holds what was answered, and not the state of a record.
    EventCapture { record: None, ..capture }
}
