//! Maps messages of another system to events.

use crate::model::fault::InputFault;
use crate::model::type_pattern::is_event_type;
use serde::{Deserialize, Serialize};

/// Longest text with places, in bytes.
const MAX_TEXT: usize = 500;

/// Places of the parts of an event in a message. Each is a text in which a place in braces stands
/// for a value: a JSON pointer into the body (`{/order/id}`), a header (`{header:Kind}`), or the
/// subject or routing key (`{subject}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageMapping {
    /// Type of the event.
    #[serde(rename = "type")]
    #[schema(example = "order.{/action}", max_length = 500)]
    pub event_type: String,
    /// Id of the event, by which a repeat is recognised. If left out or empty, the id of the
    /// message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "{/event_id}")]
    pub id: Option<String>,
    /// Kind of record that the event is about. If left out, the first segment of the type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Id of that record. If left out, the member `id` of the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "{/order/id}")]
    pub resource_id: Option<String>,
    /// Time of the event: RFC 3339, or seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<String>,
    /// Place of the data, as a JSON pointer without braces. If left out, the whole body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "/order")]
    pub data: Option<String>,
}

/// A place in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessagePlace<'a> {
    /// A JSON pointer into the body.
    Body(&'a str),
    /// A header of that name.
    Header(&'a str),
    /// The subject or routing key.
    Subject,
}

/// A piece of a text with places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MappingPiece<'a> {
    /// Text that stays as it is.
    Text(&'a str),
    /// A value of the message.
    Value(MessagePlace<'a>),
}

impl MessageMapping {
    /// Returns the faults of the mapping.
    pub fn check(&self) -> Vec<InputFault> {
        let texts = [
            ("type", Some(&self.event_type)),
            ("id", self.id.as_ref()),
            ("resource", self.resource.as_ref()),
            ("resource_id", self.resource_id.as_ref()),
            ("occurred_at", self.occurred_at.as_ref()),
        ];
        let mut faults = Vec::new();
        for (field, text) in texts.into_iter().filter_map(|(field, text)| Some((field, text?))) {
            if let Err(why) = mapping_pieces(text) {
                faults.push(InputFault::new(field, why));
            }
        }
        if !self.event_type.contains('{') && !is_event_type(&self.event_type) {
            let message =
                format!("`{}` is not an event type such as `order.created`", self.event_type);
            faults.push(InputFault::new("type", message));
        }
        if self.data.as_ref().is_some_and(|data| !data.is_empty() && !data.starts_with('/')) {
            faults.push(InputFault::new("data", "must be a JSON pointer such as `/order`"));
        }
        faults
    }
}

/// Splits a text into its pieces.
pub fn mapping_pieces(text: &str) -> Result<Vec<MappingPiece<'_>>, String> {
    if text.len() > MAX_TEXT {
        return Err(format!("at most {MAX_TEXT} bytes"));
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (place, after) =
            after.split_once('}').ok_or_else(|| "a `{` without its `}`".to_owned())?;
        if !before.is_empty() {
            pieces.push(MappingPiece::Text(before));
        }
        pieces.push(MappingPiece::Value(read_place(place)?));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(MappingPiece::Text(rest));
    }
    Ok(pieces)
}

fn read_place(place: &str) -> Result<MessagePlace<'_>, String> {
    if place == "subject" {
        return Ok(MessagePlace::Subject);
    }
    if place.starts_with('/') {
        return Ok(MessagePlace::Body(place));
    }
    match place.strip_prefix("header:").filter(|name| !name.is_empty()) {
        Some(name) => Ok(MessagePlace::Header(name)),
        None => Err(format!(
            "`{{{place}}}` is not a place: write a JSON pointer such as `{{/id}}`, `{{header:NAME}}` \
             or `{{subject}}`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_split_at_their_places() {
        use MappingPiece::{Text, Value};
        let pieces = mapping_pieces("order.{/a/b}.{header:Kind}{subject}").unwrap();
        let expected = [
            Text("order."),
            Value(MessagePlace::Body("/a/b")),
            Text("."),
            Value(MessagePlace::Header("Kind")),
            Value(MessagePlace::Subject),
        ];
        assert_eq!(pieces, expected);
        for wrong in ["{", "{x}", "{header:}", "{}"] {
            assert!(mapping_pieces(wrong).is_err(), "{wrong}");
        }
    }
}
