//! The parts of an event that an expression can read.

use crate::json::members::JsonMembers;
use std::sync::OnceLock;

/// A variable that an expression may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventVariable {
    EventType,
    Source,
    Resource,
    RecordId,
    Data,
    Changed,
    Previous,
    Attributes,
}

impl EventVariable {
    /// All variables, with their names in expressions.
    pub const ALL: [(&'static str, Self); 8] = [
        ("type", Self::EventType),
        ("source", Self::Source),
        ("resource", Self::Resource),
        ("id", Self::RecordId),
        ("data", Self::Data),
        ("changed", Self::Changed),
        ("previous", Self::Previous),
        ("attributes", Self::Attributes),
    ];

    /// Returns the variable with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, variable)| *variable)
    }
}

/// An event, or the form of it that a delivery sends. The members of its data are parsed once, and
/// only if an expression reads one of them.
#[derive(Debug)]
pub struct EventSubject<'a> {
    pub event_type: &'a str,
    pub source: &'a str,
    pub resource: Option<&'a str>,
    /// The id of the record.
    pub record_id: Option<&'a str>,
    /// Any JSON value.
    pub data: &'a str,
    /// A JSON object with `changed` and `previous`.
    pub changes: Option<&'a str>,
    /// A JSON object.
    pub attributes: Option<&'a str>,
    /// The members of the data, once they were parsed. `None` inside if the data is not an object.
    pub members: OnceLock<Option<JsonMembers<'a>>>,
}

/// A value of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectValue<'a> {
    Text(&'a str),
    Json(&'a str),
}

impl<'a> EventSubject<'a> {
    /// Returns the value at a path, or `None` if a member is missing.
    pub fn find(&self, variable: EventVariable, fields: &[String]) -> Option<SubjectValue<'a>> {
        let text = |text: Option<&'a str>| {
            let value = text.map_or(SubjectValue::Json("null"), SubjectValue::Text);
            fields.is_empty().then_some(value)
        };
        match variable {
            EventVariable::EventType => text(Some(self.event_type)),
            EventVariable::Source => text(Some(self.source)),
            EventVariable::Resource => text(self.resource),
            EventVariable::RecordId => text(self.record_id),
            EventVariable::Data => self.find_data(fields),
            EventVariable::Changed => find_json(self.change("changed").unwrap_or("[]"), fields),
            EventVariable::Previous => find_json(self.change("previous").unwrap_or("{}"), fields),
            EventVariable::Attributes => find_json(self.attributes.unwrap_or("{}"), fields),
        }
    }

    fn find_data(&self, fields: &[String]) -> Option<SubjectValue<'a>> {
        let Some((first, rest)) = fields.split_first() else {
            return Some(SubjectValue::Json(self.data));
        };
        let members = self.members.get_or_init(|| JsonMembers::read(self.data).ok()).as_ref()?;
        find_json(members.get(first)?.get(), rest)
    }

    fn change(&self, name: &str) -> Option<&'a str> {
        let members = JsonMembers::read(self.changes?).ok()?;
        members.get(name).map(serde_json::value::RawValue::get)
    }
}

fn find_json<'a>(json: &'a str, fields: &[String]) -> Option<SubjectValue<'a>> {
    let mut json = json;
    for field in fields {
        json = JsonMembers::read(json).ok()?.get(field)?.get();
    }
    Some(SubjectValue::Json(json))
}
