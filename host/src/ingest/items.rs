//! Splits a request with several events: each element of an array, or of the lists that a sender is
//! known to send.
//!
//! An element of a list inside an object also gets the object's other members, so that nothing that
//! the sender said about all events is lost.

use crate::ingest::event_body::BodyError;
use crate::json::members::JsonMembers;
use crate::json::pointer::unescape_token;
use crate::model::fault::InputFault;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashSet;

/// The events of a request, before they are read.
pub struct EventItems<'a> {
    /// The body of each event.
    pub bodies: Vec<Cow<'a, RawValue>>,
    /// Whether the request was a list, so that the answer is one, too.
    pub many: bool,
}

/// Splits a body into at most `most` events. Members that are copied to each event may make all
/// events together at most twice as long as the body, or `room` bytes, whichever is more.
pub fn split_items<'a>(
    body: &'a RawValue,
    lists: &[&[&str]],
    most: usize,
    room: usize,
) -> Result<EventItems<'a>, BodyError> {
    if body.get().starts_with('[') {
        let elements = elements(body)?;
        check_items(elements.len(), most)?;
        let bodies = elements.into_iter().map(Cow::Borrowed).collect();
        return Ok(EventItems { bodies, many: true });
    }
    let mut bodies = vec![Cow::Borrowed(body)];
    let mut many = false;
    let room = room.max(body.get().len()).saturating_mul(2);
    for names in lists {
        let mut next = SpreadItems { bodies: Vec::new(), most, room };
        for body in &bodies {
            many |= next.spread(body, names)?;
        }
        bodies = next.bodies;
    }
    Ok(EventItems { bodies, many })
}

/// Fails if copies of what is stored with each event of a request take more than `room` bytes.
/// Returns the remaining room.
pub fn take_room(room: usize, bytes: usize, copies: usize) -> Result<usize, BodyError> {
    let left = bytes.checked_mul(copies).and_then(|all| room.checked_sub(all));
    left.ok_or_else(|| {
        let message = "what the request says of all of its events is too long to be kept with each";
        BodyError::Invalid(vec![InputFault::new("", message)])
    })
}

fn check_items(given: usize, most: usize) -> Result<(), BodyError> {
    if given <= most {
        return Ok(());
    }
    let message =
        format!("more than {most} events in one request; `server.max_batch` is the limit");
    Err(BodyError::Invalid(vec![InputFault::new("", message)]))
}

fn elements(list: &RawValue) -> Result<Vec<&RawValue>, BodyError> {
    serde_json::from_str(list.get()).map_err(|error| BodyError::Malformed(error.to_string()))
}

/// Collects the elements of lists.
struct SpreadItems<'a> {
    bodies: Vec<Cow<'a, RawValue>>,
    most: usize,
    /// The number of bytes that further elements may take.
    room: usize,
}

impl SpreadItems<'_> {
    /// Adds the elements of an object's lists with these names, or the object itself if it has no
    /// such list. Returns whether it has one.
    fn spread(&mut self, body: &RawValue, names: &[&str]) -> Result<bool, BodyError> {
        let members = JsonMembers::read(body.get()).ok();
        let is_list =
            |name: &str, value: &RawValue| names.contains(&name) && value.get().starts_with('[');
        let lists: Vec<&RawValue> = members
            .iter()
            .flat_map(JsonMembers::iter)
            .filter(|(name, value)| is_list(name, value))
            .map(|(_, value)| value)
            .collect();
        let Some(members) = members.as_ref().filter(|_| !lists.is_empty()) else {
            self.room = take_room(self.room, body.get().len(), 1)?;
            self.bodies.push(Cow::Owned(body.to_owned()));
            return Ok(false);
        };
        let outer: Vec<(&str, &RawValue)> =
            members.iter().filter(|(name, value)| !is_list(name, value)).collect();
        let size: usize = outer.iter().map(|(name, value)| name.len() + value.get().len()).sum();
        for list in lists {
            let elements = elements(list)?;
            check_items(self.bodies.len() + elements.len(), self.most)?;
            // Checked before anything is copied, because a short list of empty objects can lead to
            // long copies.
            self.room = take_room(self.room, size, elements.len())?;
            self.room = take_room(self.room, list.get().len(), 1)?;
            for element in elements {
                self.bodies.push(Cow::Owned(merged(&outer, element)?));
            }
        }
        Ok(true)
    }
}

/// Merges an element with the members of the object around it. If both have a member of one name,
/// the element keeps the name, and the other one gets the prefix `outer_`.
fn merged(outer: &[(&str, &RawValue)], element: &RawValue) -> Result<Box<RawValue>, BodyError> {
    let Ok(inner) = JsonMembers::read(element.get()) else { return Ok(element.to_owned()) };
    let names: HashSet<&str> = inner.names().collect();
    let outer = outer.iter().map(|(name, value)| {
        let name = if names.contains(name) {
            Cow::Owned(format!("outer_{name}"))
        } else {
            Cow::Borrowed(*name)
        };
        (name, *value)
    });
    let inner = inner.iter().map(|(name, value)| (Cow::Borrowed(name), value));
    object(inner.chain(outer))
}

/// Removes the member that proves who the sender is, because whoever reads the event could use it
/// to send others.
pub fn without_token(body: &RawValue, pointer: &str) -> Result<Box<RawValue>, BodyError> {
    let Ok(members) = JsonMembers::read(body.get()) else { return Ok(body.to_owned()) };
    let name = unescape_token(pointer.strip_prefix('/').unwrap_or(pointer));
    let members = members.iter().filter(|(known, _)| *known != name);
    object(members.map(|(name, value)| (Cow::Borrowed(name), value)))
}

/// Makes an object of these members. Values are copied as texts, so that no number loses a digit.
fn object<'m>(
    members: impl Iterator<Item = (Cow<'m, str>, &'m RawValue)>,
) -> Result<Box<RawValue>, BodyError> {
    let malformed = |error: serde_json::Error| BodyError::Malformed(error.to_string());
    let mut text = String::new();
    for (name, value) in members {
        text.push(if text.is_empty() { '{' } else { ',' });
        text.push_str(&serde_json::to_string(&name).map_err(malformed)?);
        text.push(':');
        text.push_str(value.get());
    }
    text.push_str(if text.is_empty() { "{}" } else { "}" });
    RawValue::from_string(text).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str, lists: &[&[&str]]) -> Vec<String> {
        let body = RawValue::from_string(body.to_owned()).unwrap();
        let items = split_items(&body, lists, 4, 1_000).unwrap();
        items.bodies.iter().map(|body| body.get().to_owned()).collect()
    }

    #[test]
    fn an_array_is_its_elements() {
        assert_eq!(of(r#"[{"a":1.50},{"a":2}]"#, &[]), [r#"{"a":1.50}"#, r#"{"a":2}"#]);
        assert_eq!(of(r#"{"events":[1]}"#, &[]), [r#"{"events":[1]}"#]);
        assert!(of("[]", &[]).is_empty());
    }

    #[test]
    fn elements_of_lists_keep_what_stands_around_them() {
        let meta: &[&[&str]] = &[&["entry"], &["changes", "messaging"]];
        let body = r#"{"object":"page","entry":[
            {"id":"1","changes":[{"field":"leadgen","value":{"id":7}},{"field":"feed","value":1.0}]},
            {"id":"2","messaging":[{"id":"3"}],"changes":[]},
            {"id":"4"}]}"#;
        let wanted = [
            r#"{"field":"leadgen","value":{"id":7},"id":"1","object":"page"}"#,
            r#"{"field":"feed","value":1.0,"id":"1","object":"page"}"#,
            r#"{"id":"3","outer_id":"2","object":"page"}"#,
            r#"{"id":"4","object":"page"}"#,
        ];
        assert_eq!(of(body, meta), wanted);
        assert!(of(r#"{"events":[],"entropy":"x"}"#, &[&["events"]]).is_empty());
    }

    #[test]
    fn many_events_and_long_ones_are_refused() {
        let body = RawValue::from_string("[1,2,3,4,5]".to_owned()).unwrap();
        assert!(matches!(split_items(&body, &[], 4, 1_000), Err(BodyError::Invalid(_))));
        let long = format!(r#"{{"events":[1,{{}},{{}},{{}}],"note":"{}"}}"#, "x".repeat(2_000));
        let body = RawValue::from_string(long).unwrap();
        let refused = split_items(&body, &[&["events"]], 4, 1_000);
        assert!(matches!(refused, Err(BodyError::Invalid(_))));
        // The copies of the note would be a gigabyte; they are counted before they are made.
        let many = vec!["{}"; 1_000].join(",");
        let long = format!(r#"{{"events":[{many}],"note":"{}"}}"#, "x".repeat(1 << 20));
        let body = RawValue::from_string(long).unwrap();
        let refused = split_items(&body, &[&["events"]], 1_000, 1 << 20);
        assert!(matches!(refused, Err(BodyError::Invalid(_))));
    }
}
