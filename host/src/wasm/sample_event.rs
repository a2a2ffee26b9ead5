//! An event of a file or of a manifest, with substitutes for the members that the server would add.

use super::{ModuleInput, PATIENCE};
use crate::model::event::attribute_texts;
use serde_json::Value;
use std::time::Duration;

/// An event in the form of `POST /events`, ready for a run of a module. Every run sees the same id
/// and time, so that a module gives the same answer.
#[derive(Debug)]
pub struct SampleEvent {
    pub id: String,
    pub source: String,
    pub kind: String,
    pub resource: Option<String>,
    pub subject: Option<String>,
    pub time: String,
    pub attributes: Vec<(String, String)>,
    pub data: String,
}

impl SampleEvent {
    /// Reads an event. Returns `None` if it has no `type` or no `data`.
    pub fn read(event: &Value) -> Option<Self> {
        let text = |name: &str| event.get(name).and_then(Value::as_str).map(str::to_owned);
        let (kind, data) = (text("type")?, event.get("data")?);
        Some(Self {
            id: text("id").unwrap_or_else(|| "evt_00000000-0000-7000-8000-000000000000".to_owned()),
            source: text("source").unwrap_or_else(|| "local".to_owned()),
            resource: text("resource"),
            subject: text("resource_id"),
            time: text("occurred_at").unwrap_or_else(|| "2026-01-01T00:00:00.000Z".to_owned()),
            attributes: event.get("attributes").map(attributes).unwrap_or_default(),
            data: data.to_string(),
            kind,
        })
    }

    /// Returns the attributes in the form that a run reads.
    pub fn attribute_pairs(&self) -> Vec<(&str, &str)> {
        self.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// Returns the input of a module.
    pub fn input<'a>(&'a self, attributes: &'a [(&'a str, &'a str)]) -> ModuleInput<'a> {
        let time = self.time.parse::<jiff::Timestamp>().unwrap_or_default();
        ModuleInput {
            id: &self.id,
            flow: "",
            source: &self.source,
            kind: &self.kind,
            resource: self.resource.as_deref(),
            subject: self.subject.as_deref(),
            time: &self.time,
            attempt: 1,
            changes: None,
            attributes,
            data: &self.data,
            received: Duration::from_secs(u64::try_from(time.as_second()).unwrap_or_default()),
            patience: PATIENCE,
            may_reuse: false,
        }
    }
}

/// Returns the attributes of an event in the form that a module reads.
fn attributes(given: &Value) -> Vec<(String, String)> {
    serde_json::value::to_raw_value(given).map(|raw| attribute_texts(&raw)).unwrap_or_default()
}
