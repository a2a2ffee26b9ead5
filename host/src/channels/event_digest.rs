//! Summarises an event for people who read it in a chat or an inbox.

use crate::expression::event_subject::{EventSubject, SubjectValue};
use crate::expression::text_template::{TextTemplate, show_value};
use crate::json::members::JsonMembers;
use crate::model::envelope::EnvelopeMessage;
use crate::model::fault::InputFault;
use std::sync::OnceLock;

/// Most fields of the data that are listed.
pub const MAX_FACTS: usize = 10;

/// The texts of a message that an operator may set.
#[derive(Debug, Default)]
pub struct DigestTexts {
    /// The heading. If `None`, it reads like `invoice.paid: invoice 17`.
    pub title: Option<TextTemplate>,
    pub text: Option<TextTemplate>,
    /// Whether the fields of the data are listed.
    pub lists_facts: bool,
}

impl DigestTexts {
    /// Reads the templates of an endpoint's settings, which were checked when they were stored.
    pub fn read(title: Option<&str>, text: Option<&str>, facts: bool) -> Result<Self, String> {
        let read = |text: Option<&str>| text.map(TextTemplate::read).transpose();
        Ok(Self { title: read(title)?, text: read(text)?, lists_facts: facts })
    }
}

/// Returns a fault for each template that cannot be read, with its name.
pub fn check_templates(templates: &[(&str, Option<&str>)]) -> Vec<InputFault> {
    let fault = |(name, text): &(&str, Option<&str>)| {
        let why = TextTemplate::read((*text)?).err()?;
        Some(InputFault::new(*name, why))
    };
    templates.iter().filter_map(fault).collect()
}

/// The summary of an event. The texts are not escaped; the code that writes them into a message
/// escapes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventDigest {
    pub title: String,
    pub text: Option<String>,
    /// Names and values of fields of the data. No value is empty.
    pub facts: Vec<(String, String)>,
    /// Whether the data has more fields than are listed.
    pub has_more: bool,
    /// The source and the time of the event.
    pub footer: String,
}

impl EventDigest {
    pub fn new(texts: &DigestTexts, message: &EnvelopeMessage<'_>) -> Self {
        let changes = changes_of(message);
        let subject = subject_of(message, changes.as_deref());
        let render = |template: &TextTemplate| template.render(&subject, str::to_owned);
        let (facts, has_more) =
            if texts.lists_facts { list_facts(message.data) } else { (Vec::new(), false) };
        Self {
            title: texts.title.as_ref().map_or_else(|| default_title(message), render),
            text: texts.text.as_ref().map(render).filter(|text| !text.trim().is_empty()),
            facts,
            has_more,
            footer: format!("{} · {}", message.source, message.timestamp),
        }
    }
}

/// Returns the changes in the form that expressions read.
pub fn changes_of(message: &EnvelopeMessage<'_>) -> Option<String> {
    let changed = message.changed?;
    let previous = message.previous.unwrap_or("{}");
    Some(format!(r#"{{"changed":{changed},"previous":{previous}}}"#))
}

/// Returns a message as expressions see it. The data must have passed the field map of the
/// endpoint.
pub fn subject_of<'a>(message: &EnvelopeMessage<'a>, changes: Option<&'a str>) -> EventSubject<'a> {
    EventSubject {
        event_type: message.event_type,
        source: message.source,
        resource: message.resource,
        record_id: message.resource_id,
        data: message.data,
        changes,
        attributes: message.extensions,
        members: OnceLock::new(),
    }
}

fn default_title(message: &EnvelopeMessage<'_>) -> String {
    match (message.resource, message.resource_id) {
        (Some(resource), Some(id)) => format!("{}: {resource} {id}", message.event_type),
        (Some(_), None) | (None, _) => message.event_type.to_owned(),
    }
}

/// Returns the first fields of the data that are not empty, objects or lists, and whether more
/// follow.
fn list_facts(data: &str) -> (Vec<(String, String)>, bool) {
    let Ok(members) = JsonMembers::read(data) else { return (Vec::new(), false) };
    let mut facts = Vec::new();
    for (name, value) in members.iter() {
        let json = value.get();
        if json.starts_with(['{', '[']) {
            continue;
        }
        let value = show_value(SubjectValue::Json(json));
        if name.trim().is_empty() || value.trim().is_empty() {
            continue;
        }
        if facts.len() == MAX_FACTS {
            return (facts, true);
        }
        facts.push((name.to_owned(), value));
    }
    (facts, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(data: &str) -> EnvelopeMessage<'_> {
        EnvelopeMessage {
            event_type: "invoice.paid",
            timestamp: "2026-03-01T09:30:00.000Z",
            source: "crm",
            resource: Some("invoice"),
            resource_id: Some("17"),
            data,
            ..EnvelopeMessage::default()
        }
    }

    #[test]
    fn an_event_without_templates_lists_its_fields() {
        let texts = DigestTexts::read(None, None, true).unwrap();
        let data =
            r#"{"number":"A-1","total":12.50,"paid":true,"note":"","client":{"id":3},"x":null}"#;
        let digest = EventDigest::new(&texts, &message(data));
        assert_eq!(digest.title, "invoice.paid: invoice 17");
        let facts = [("number", "A-1"), ("total", "12.50"), ("paid", "true")];
        assert_eq!(digest.facts, facts.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(!digest.has_more && digest.text.is_none());
        assert!(EventDigest::new(&texts, &message("[1]")).facts.is_empty());
    }

    #[test]
    fn templates_replace_the_default_texts() {
        let texts = DigestTexts::read(Some("Paid: {data.n}"), Some("{changed}"), false).unwrap();
        let changed = EnvelopeMessage { changed: Some(r#"["n"]"#), ..message(r#"{"n":5}"#) };
        let digest = EventDigest::new(&texts, &changed);
        assert_eq!((digest.title.as_str(), digest.text.as_deref()), ("Paid: 5", Some(r#"["n"]"#)));
        assert!(digest.facts.is_empty());
        let faults = check_templates(&[("title", Some("{x}")), ("text", None)]);
        assert_eq!(faults.len(), 1);
    }

    #[test]
    fn a_digest_tells_that_there_are_more_fields() {
        let data: serde_json::Map<_, _> = (0..30).map(|n| (format!("m{n}"), n.into())).collect();
        let data = serde_json::Value::Object(data).to_string();
        let texts = DigestTexts::read(None, None, true).unwrap();
        let digest = EventDigest::new(&texts, &message(&data));
        assert!(digest.facts.len() == MAX_FACTS && digest.has_more);
    }
}
