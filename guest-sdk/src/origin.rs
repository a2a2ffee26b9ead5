//! Reading requests, and making what a `source` and a `puller` return.

use crate::emit::Fact;
use crate::http::{Request, Response};
use crate::{Decoded, Failure, Inbound, Step, body};

impl Inbound {
    /// Returns the first value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the first value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the body as a type of yours. A body that does not fit is a permanent failure with the
    /// code `bad_payload` that names the place, so the sender gets a 422.
    pub fn json<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, Failure> {
        body::decode(&self.body)
    }
}

impl Decoded {
    /// Returns events that are answered as by any other source.
    pub const fn events(events: Vec<Fact>) -> Self {
        Self { events, reply: None }
    }

    /// Returns no event and an answer, as to a handshake.
    pub const fn reply(reply: Response) -> Self {
        Self { events: Vec::new(), reply: Some(reply) }
    }

    /// Answers the sender once the events are stored.
    #[must_use]
    pub fn answer(mut self, reply: Response) -> Self {
        self.reply = Some(reply);
        self
    }
}

impl Response {
    /// Returns an answer to a sender, with a text as its body.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), body: crate::Body::Text(text.into()) }
    }

    /// Returns an answer to a sender, with a value as JSON.
    pub fn of_json<T: serde::Serialize + ?Sized>(status: u16, value: &T) -> Result<Self, Failure> {
        Ok(Self { status, headers: Vec::new(), body: body::encode(value)? })
    }
}

impl Step {
    /// Ends the round with these events, and remembers a value.
    pub fn end<T: serde::Serialize + ?Sized>(
        events: Vec<Fact>,
        memory: &T,
    ) -> Result<Self, Failure> {
        let memory = serde_json::to_string(memory)
            .map_err(|error| Failure::permanent("bad_output", error.to_string()))?;
        Ok(Self { events, memory, next: None })
    }

    /// Makes another request first.
    #[must_use]
    pub fn then(mut self, next: Request) -> Self {
        self.next = Some(next);
        self
    }

    /// Returns what the last call left as a type of yours; its default at the very first.
    pub fn memory<T: serde::de::DeserializeOwned + Default>(
        memory: Option<&str>,
    ) -> Result<T, Failure> {
        let read = memory.map(serde_json::from_str).transpose();
        let read = read.map_err(|error| Failure::permanent("bad_memory", error.to_string()))?;
        Ok(read.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing;

    #[test]
    fn request_is_read_by_header_query_and_body() {
        let mut request = testing::request(json!({"n": 7}));
        request.query.push(("challenge".to_owned(), "abc".to_owned()));
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.parameter("challenge"), Some("abc"));
        assert_eq!(request.json::<serde_json::Value>().unwrap()["n"], 7);
        assert_eq!(request.json::<u8>().unwrap_err().reason().code, "bad_payload");
    }

    #[test]
    fn memory_is_what_the_last_call_left() {
        let step = Step::end(Vec::new(), &json!({"after": 7})).unwrap();
        assert_eq!(Step::memory::<serde_json::Value>(Some(&step.memory)).unwrap()["after"], 7);
        assert_eq!(Step::memory::<u32>(None).unwrap(), 0);
        assert_eq!(Step::memory::<u32>(Some("x")).unwrap_err().reason().code, "bad_memory");
        assert!(step.then(Request::get("https://a.example")).next.is_some());
    }
}
