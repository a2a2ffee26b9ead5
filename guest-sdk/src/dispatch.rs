//! Making dispatches.

use std::time::Duration;

use serde::Serialize;

use crate::{Dispatch, Failure, body, failure::whole_seconds};

impl Dispatch {
    /// A delivery of the event to an endpoint of the flow, by its name, at once.
    pub fn to(destination: impl Into<String>) -> Self {
        Self {
            destination: destination.into(),
            operation: None,
            dedupe_key: None,
            ordering_key: None,
            cancel_key: None,
            delay_seconds: 0,
            attributes: Vec::new(),
            data: None,
        }
    }

    /// Waits before the first attempt: rounded up to whole seconds, 30 days at most.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay_seconds = whole_seconds(delay);
        self
    }

    /// Of the flow's deliveries with the same key to the same endpoint one is made, for 24 hours
    /// unless the operator says otherwise; the key is free earlier where that one dies or is
    /// cancelled. Without a key every dispatch is a delivery.
    #[must_use]
    pub fn dedupe_key(mut self, key: impl Into<String>) -> Self {
        self.dedupe_key = Some(key.into());
        self
    }

    /// Deliveries with the same key keep their order at an `ordered` endpoint. Without it the key
    /// is the event's record.
    #[must_use]
    pub fn ordering_key(mut self, key: impl Into<String>) -> Self {
        self.ordering_key = Some(key.into());
        self
    }

    /// Names the delivery, so that a later event of the flow can cancel it while it waits
    /// ([`crate::deliveries::cancel`]).
    #[must_use]
    pub fn cancel_key(mut self, key: impl Into<String>) -> Self {
        self.cancel_key = Some(key.into());
        self
    }

    /// Runs this operation of an endpoint of kind `api`, such as `lead_create`, in place of the one for
    /// the event's type. A name that the endpoint does not have makes this a permanent failure.
    #[must_use]
    pub fn operation(mut self, operation: impl Into<String>) -> Self {
        self.operation = Some(operation.into());
        self
    }

    /// Adds an attribute for this delivery; the name is lower case, and replaces the event's of the
    /// same name.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }

    /// Sends `value` as the JSON payload of this delivery in place of the event's.
    ///
    /// A value that JSON has no form for is a permanent failure with the code `bad_output`.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Result<Self, Failure> {
        self.data = Some(body::encode(value)?);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Body;

    #[test]
    fn dispatch_is_built_step_by_step() {
        let dispatch = Dispatch::to("erp")
            .after(Duration::from_millis(1_500))
            .operation("invoice_create")
            .dedupe_key("invoice-17")
            .ordering_key("customer-4")
            .cancel_key("reminder-17")
            .attribute("priority", "high")
            .json("paid")
            .unwrap();
        let expected = Dispatch {
            destination: "erp".to_owned(),
            operation: Some("invoice_create".to_owned()),
            dedupe_key: Some("invoice-17".to_owned()),
            ordering_key: Some("customer-4".to_owned()),
            cancel_key: Some("reminder-17".to_owned()),
            delay_seconds: 2,
            attributes: vec![("priority".to_owned(), "high".to_owned())],
            data: Some(Body::Json("\"paid\"".to_owned())),
        };
        assert_eq!(dispatch, expected);
    }
}
