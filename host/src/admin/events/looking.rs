//! Searches events by what has no index: a text in the payload, and the outcome. One page searches
//! a bounded window, newest first, and says how far it came.

use super::outcome::{EventOutcome, load_outcomes};
use super::{EventsPage, filled};
use crate::admin::call::{PageCall, PageProblem};
use crate::admin::filters::FilterValue;
use crate::admin::signs::StateSign;
use crate::api::body::QueryInput;
use crate::api::events::{EventQuery, EventView, list_events};
use crate::model::id::EventId;
use crate::time::timestamp::Timestamp;
use axum::Json;
use http::Uri;
use std::collections::BTreeMap;

/// Most events that one page searches. With payloads of 1 KiB the search takes less than 100 ms.
pub const WINDOW: usize = 2_000;
/// Bytes of payloads after which the search stops.
const WINDOW_BYTES: usize = 32 << 20;
/// Events that are read at once.
const CHUNK: usize = 100;
/// Most reads of one page. If other filters choose few events, a read returns few events or none,
/// and searches 10,000 rows. So one page searches at most 200,000 rows.
const MOST_READS: usize = WINDOW / CHUNK;
/// Matches after which the search stops.
const ENOUGH: usize = 50;

/// The outcomes that a person can choose.
const OUTCOMES: [(&str, StateSign); 11] = [
    ("delivered", StateSign::DELIVERED),
    ("delivering", StateSign::DELIVERING),
    ("retrying", StateSign::RETRYING),
    ("dead", StateSign::DEAD),
    ("replaying", StateSign::REPLAYING),
    ("dropped", StateSign::DROPPED),
    ("no-flow", StateSign::NO_FLOW),
    ("planning", StateSign::PLANNING),
    ("collapsed", StateSign::COLLAPSED),
    ("cancelled", StateSign::CANCELLED),
    ("unknown", StateSign::UNKNOWN),
];

/// Returns the values of the picker of outcomes.
pub fn outcome_values() -> Vec<FilterValue> {
    OUTCOMES.iter().map(|(name, sign)| FilterValue::labelled(name, sign.word)).collect()
}

/// The events of a list, and how they were found.
#[derive(Debug, Default)]
pub struct FoundEvents {
    pub events: Vec<EventView>,
    pub outcomes: BTreeMap<String, EventOutcome>,
    pub next: Option<String>,
    /// How far a search without an index came.
    pub reach: Option<SearchReach>,
}

/// How far a search without an index came.
#[derive(Debug, Default)]
pub struct SearchReach {
    /// Events that fit the filters with an index.
    pub events: usize,
    /// When the oldest row that was searched was captured.
    pub oldest: Option<Timestamp>,
    reads: usize,
    bytes: usize,
}

impl SearchReach {
    /// Notes the events of one read, and the cursor for the next one.
    fn note_read(&mut self, events: &[EventView], next: Option<&str>) {
        self.reads += 1;
        self.events += events.len();
        self.bytes += events.iter().map(|event| event.data.get().len()).sum::<usize>();
        let cursor = next.and_then(|next| next.parse::<EventId>().ok());
        let last = events.last().map(|event| event.received_at);
        self.oldest = cursor.map(EventId::created_at).or(last).or(self.oldest);
    }

    const fn is_spent(&self) -> bool {
        self.reads >= MOST_READS || self.events >= WINDOW || self.bytes >= WINDOW_BYTES
    }
}

/// Finds the events for a page of the list.
pub async fn find_events(
    call: &PageCall,
    uri: &Uri,
    page: &EventsPage,
) -> Result<FoundEvents, PageProblem> {
    let wanted = WantedEvents::of(page);
    if wanted.is_any() {
        let (events, next) = read_chunk(call, uri, page.query(call)).await?;
        let outcomes = load_outcomes(call, &events).await?;
        return Ok(FoundEvents { events, outcomes, next, reach: None });
    }
    look_through(call, uri, page, &wanted).await
}

async fn read_chunk(
    call: &PageCall,
    uri: &Uri,
    query: EventQuery,
) -> Result<(Vec<EventView>, Option<String>), PageProblem> {
    let principal = call.principal.clone();
    let Json(found) = list_events(call.state(), principal, uri.clone(), QueryInput(query)).await?;
    Ok((found.data, found.meta.next_cursor))
}

async fn look_through(
    call: &PageCall,
    uri: &Uri,
    page: &EventsPage,
    wanted: &WantedEvents,
) -> Result<FoundEvents, PageProblem> {
    let mut found = FoundEvents { next: page.query(call).cursor, ..FoundEvents::default() };
    let mut reach = SearchReach::default();
    loop {
        let query = EventQuery {
            cursor: found.next.take(),
            limit: Some(CHUNK.to_string()),
            ..page.query(call)
        };
        let (mut events, next) = read_chunk(call, uri, query).await?;
        reach.note_read(&events, next.as_deref());
        events.retain(|event| wanted.has_text(event));
        let outcomes = load_outcomes(call, &events).await?;
        events.retain(|event| wanted.has_outcome(outcomes.get(&event.id.to_string())));
        found.events.extend(events);
        found.outcomes.extend(outcomes);
        found.next = next;
        if found.next.is_none() || found.events.len() >= ENOUGH || reach.is_spent() {
            found.reach = Some(reach);
            return Ok(found);
        }
    }
}

/// The part of a filter that has no index.
#[derive(Debug, Default)]
struct WantedEvents {
    /// The text in lower case: once as a person typed it, and once escaped as in JSON.
    texts: Option<[String; 2]>,
    outcome: Option<&'static str>,
}

impl WantedEvents {
    fn of(page: &EventsPage) -> Self {
        let text = filled(page.text.as_ref()).map(|text| {
            let plain = text.to_lowercase();
            let quoted = serde_json::Value::from(plain.as_str()).to_string();
            // Only the outer quotation marks are removed; those of the text itself have a backslash
            // before them.
            let inside = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
            let written = inside.unwrap_or(&quoted).to_owned();
            [plain, written]
        });
        let outcome = filled(page.outcome.as_ref());
        let known = OUTCOMES.iter().find(|(name, _)| Some(*name) == outcome);
        Self { texts: text, outcome: known.map(|(_, sign)| sign.word) }
    }

    const fn is_any(&self) -> bool {
        self.texts.is_none() && self.outcome.is_none()
    }

    fn has_text(&self, event: &EventView) -> bool {
        let Some(texts) = &self.texts else { return true };
        let data = event.data.get().to_lowercase();
        texts.iter().any(|text| data.contains(text.as_str()))
    }

    fn has_outcome(&self, outcome: Option<&EventOutcome>) -> bool {
        self.outcome.is_none_or(|word| outcome.is_some_and(|outcome| outcome.sign.word == word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_whose_filter_matches_nothing_comes_to_an_end() {
        let mut reach = SearchReach::default();
        let cursor = EventId::generate();
        let mut reads = 0;
        while !reach.is_spent() && reads < 1_000 {
            reach.note_read(&[], Some(&cursor.to_string()));
            reads += 1;
        }
        assert_eq!((reads, reach.events), (MOST_READS, 0));
        assert_eq!(reach.oldest, Some(cursor.created_at()));
    }

    #[test]
    fn a_text_is_searched_as_typed_and_as_escaped_json() {
        let page = EventsPage { text: Some("A \"b\"".to_owned()), ..EventsPage::default() };
        let wanted = WantedEvents::of(&page);
        assert_eq!(wanted.texts, Some(["a \"b\"".to_owned(), "a \\\"b\\\"".to_owned()]));
        let page = EventsPage { outcome: Some("dead".to_owned()), ..EventsPage::default() };
        assert_eq!(WantedEvents::of(&page).outcome, Some("Dead letter"));
        assert!(WantedEvents::of(&EventsPage::default()).is_any());
    }
}
