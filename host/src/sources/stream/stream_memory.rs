//! What a source that takes messages stores between two runs.

use super::StreamMessage;
use crate::time::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// What is stored between two runs, together with the events of the last message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamMemory {
    /// The position of the last message that was captured or set aside.
    pub last: Option<String>,
    /// When that message was published.
    pub last_at: Option<Timestamp>,
    /// When the stream was made, as the server writes it. Sequences of another one mean nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_made: Option<String>,
    /// The sequence of the last message of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Positions of the capture log that were committed, and when, for the removal of messages.
    #[serde(skip_serializing_if = "VecDeque::is_empty")]
    taken: VecDeque<(Timestamp, u64)>,
    /// Digests of the last messages without an id. There are as many as a broker hands out without
    /// an acknowledgement, so each message that can come again is among them.
    #[serde(skip_serializing_if = "VecDeque::is_empty")]
    digests: VecDeque<String>,
    /// Digests that earlier runs stored and whose messages did not come again in this run.
    #[serde(skip)]
    awaited: Vec<String>,
    /// Messages in a row that were set aside.
    #[serde(skip_serializing_if = "is_zero")]
    bad_in_a_row: u32,
    /// The state of the settings that the messages in a row were read with.
    settings_of: Option<Timestamp>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl StreamMemory {
    /// Reads what a run stored.
    pub fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// Returns the text to store.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Begins a run with the settings that were stored then. With other settings than before the
    /// messages in a row are counted anew.
    pub fn begin(&mut self, settings_of: Timestamp) {
        self.awaited = self.digests.iter().cloned().collect();
        if self.settings_of != Some(settings_of) {
            self.bad_in_a_row = 0;
            self.settings_of = Some(settings_of);
        }
    }

    /// Remembers that the messages up to a position are committed, if the last note is older than
    /// `pause`.
    pub fn note_taken(&mut self, sequence: u64, now: Timestamp, pause: Duration) {
        let is_due = |(at, noted): &(Timestamp, u64)| *noted < sequence && now.since(*at) >= pause;
        if self.taken.back().is_none_or(is_due) {
            self.taken.push_back((now, sequence));
        }
    }

    /// Forgets the positions that were committed before a time, and returns the last of them.
    pub fn take_old(&mut self, before: Timestamp) -> Option<u64> {
        let mut last = None;
        while let Some((_, sequence)) = self.taken.front().filter(|(at, _)| *at < before) {
            last = Some(*sequence);
            self.taken.pop_front();
        }
        last
    }

    /// Forgets the positions after the given one. All of another stream are after 0.
    pub fn forget_taken_after(&mut self, sequence: u64) {
        self.taken.retain(|(_, noted)| *noted <= sequence);
    }

    /// Counts a message that is set aside, and returns how many there are in a row.
    pub fn note_bad(&mut self) -> u32 {
        self.bad_in_a_row += 1;
        self.bad_in_a_row
    }

    /// Whether a message without an id was committed before.
    pub fn knows(&self, message: &StreamMessage) -> bool {
        let digest = message.digest.as_ref().filter(|_| message.may_repeat);
        digest.is_some_and(|digest| self.awaited.contains(digest))
    }

    /// Records a message that is part of the next commit. `unacknowledged` is how many messages the
    /// broker hands out without an acknowledgement.
    pub fn note_message(&mut self, message: &StreamMessage, is_taken: bool, unacknowledged: u32) {
        if is_taken {
            self.bad_in_a_row = 0;
        }
        self.last = Some(message.position.clone());
        self.last_at = message.published_at.or(self.last_at);
        if self.stream_made.is_some() {
            self.sequence = self.sequence.max(Some(message.tag));
        }
        let Some(digest) = &message.digest else { return };
        if self.knows(message) {
            // It is counted once, and the next message of this content is another one.
            let at = self.awaited.iter().position(|known| known == digest);
            drop(at.map(|at| self.awaited.swap_remove(at)));
            let at = self.digests.iter().position(|known| known == digest);
            drop(at.and_then(|at| self.digests.remove(at)));
        }
        self.digests.push_back(digest.clone());
        while self.digests.len() > usize::try_from(unacknowledged).unwrap_or(usize::MAX) {
            drop(self.digests.pop_front());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::MessageBody;
    use super::*;
    use bytes::Bytes;

    fn message(digest: &str, may_repeat: bool) -> StreamMessage {
        StreamMessage {
            tag: 1,
            position: digest.to_owned(),
            subject: String::new(),
            headers: Vec::new(),
            id: None,
            published_at: None,
            digest: Some(digest.to_owned()),
            may_repeat,
            body: MessageBody::Whole(Bytes::new()),
        }
    }

    #[test]
    fn a_message_without_an_id_is_known_if_it_may_come_again() {
        let mut memory = StreamMemory::default();
        for digest in ["a", "b", "c"] {
            memory.note_message(&message(digest, false), true, 2);
        }
        assert!(!memory.knows(&message("b", true)), "a run gets no message twice");
        let mut memory = StreamMemory::read(&memory.text());
        memory.begin(Timestamp::from_micros(1));
        assert!(!memory.knows(&message("a", true)), "the broker cannot have it any more");
        assert!(!memory.knows(&message("b", false)), "a message of the same content");
        assert!(memory.knows(&message("b", true)));
        memory.note_message(&message("b", true), true, 2);
        assert!(!memory.knows(&message("b", true)), "another message of the same content");
        memory.note_message(&message("c", true), true, 2);
        assert_eq!(memory.last.as_deref(), Some("c"));
    }

    #[test]
    fn positions_survive_in_the_memory_until_they_are_old() {
        let (at, pause) = (|s: i64| Timestamp::from_micros(s * 1_000_000), Duration::from_secs(10));
        let mut memory = StreamMemory::default();
        for (second, sequence) in [(0, 5), (3, 6), (10, 9), (30, 9), (40, 12)] {
            memory.note_taken(sequence, at(second), pause);
        }
        let mut other = StreamMemory::read(&memory.text());
        assert_eq!(other.take_old(at(0)), None);
        assert_eq!(other.take_old(at(11)), Some(9));
        assert_eq!(other.take_old(at(11)), None);
        other.forget_taken_after(11);
        assert_eq!(other.take_old(at(100)), None);
        assert_eq!(memory.take_old(at(100)), Some(12));
    }

    #[test]
    fn bad_messages_are_counted_in_a_row_and_anew_with_other_settings() {
        let mut memory = StreamMemory::default();
        memory.begin(Timestamp::from_micros(1));
        assert_eq!([memory.note_bad(), memory.note_bad()], [1, 2]);
        memory.begin(Timestamp::from_micros(1));
        assert_eq!(memory.note_bad(), 3);
        memory.begin(Timestamp::from_micros(2));
        assert_eq!(memory.note_bad(), 1);
        memory.note_message(&message("a", false), true, 1);
        assert_eq!(memory.note_bad(), 1);
    }
}
