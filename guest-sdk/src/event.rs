//! Reading an event.

use serde::Deserialize;

use crate::{Event, Failure, body};

impl Event {
    /// The payload as a type of yours.
    ///
    /// A payload that does not fit is a permanent failure with the code `bad_payload` that names
    /// the place as a JSON Pointer; whoever sends the event, or the type, has to change. Fields
    /// that the type does not name are ignored, so name only what the module uses.
    ///
    /// ```
    /// # use serde::Deserialize;
    /// # use waybill_guest::testing;
    /// #[derive(Deserialize)]
    /// struct Lead<'a> {
    ///     name: &'a str,
    /// }
    ///
    /// let event = testing::event("lead.created", serde_json::json!({"name": 7}));
    /// let failure = event.data::<Lead>().map(|lead| lead.name).unwrap_err();
    /// assert_eq!(failure.reason().pointer.as_deref(), Some("/name"));
    /// ```
    pub fn data<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Failure> {
        body::decode(&self.data)
    }

    /// The value of an attribute, by its lower-case name.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use crate::{Event, testing};

    #[test]
    fn attribute_is_found_by_name() {
        let event = Event {
            attributes: vec![("tenant".to_owned(), "north".to_owned())],
            ..testing::event("lead.created", serde_json::json!({}))
        };
        assert_eq!(event.attribute("tenant"), Some("north"));
        assert_eq!(event.attribute("region"), None);
    }
}
