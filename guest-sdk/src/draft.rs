//! Making drafts.

use serde::Serialize;

use crate::{Body, Draft, Failure, body};

impl Draft {
    /// A draft with `value` as its JSON payload, and type and subject of its parent.
    ///
    /// A value that JSON has no form for, such as a map with keys that are no strings, is a
    /// permanent failure with the code `bad_output`: a mistake in the module.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, Failure> {
        body::encode(value).map(Self::new)
    }

    /// A draft with any payload, and type and subject of its parent.
    pub fn new(data: Body) -> Self {
        Self { kind: None, subject: None, attributes: Vec::new(), data }
    }

    /// Sets the event type, a dotted name such as `ledger.entry`.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// Sets the id of the record that the event is about.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Adds an attribute; the name is lower case, and replaces the parent's of the same name.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draft_is_built_step_by_step() {
        let draft = Draft::json(&[1, 2])
            .unwrap()
            .kind("ledger.entry")
            .subject("17")
            .attribute("tenant", "north");
        let expected = Draft {
            kind: Some("ledger.entry".to_owned()),
            subject: Some("17".to_owned()),
            attributes: vec![("tenant".to_owned(), "north".to_owned())],
            data: Body::Json("[1,2]".to_owned()),
        };
        assert_eq!(draft, expected);
    }
}
