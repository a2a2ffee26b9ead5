//! Making requests and outcomes, and reading answers.

use crate::http::{Request, Response};
use crate::{Failure, Outcome, body};

impl Request {
    /// Returns a `GET` of an address, query included.
    pub fn get(url: impl Into<String>) -> Self {
        Self {
            method: "GET".to_owned(),
            url: url.into(),
            headers: Vec::new(),
            secrets: Vec::new(),
            body: None,
        }
    }

    /// Returns a `POST` of a value as JSON.
    ///
    /// A value that JSON has no form for is a permanent failure with the code `bad_output`.
    pub fn post_json<T: serde::Serialize + ?Sized>(
        url: impl Into<String>,
        value: &T,
    ) -> Result<Self, Failure> {
        let body = Some(body::encode(value)?);
        Ok(Self { method: "POST".to_owned(), body, ..Self::get(url) })
    }

    /// Uses another method, such as `PUT`.
    #[must_use]
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.method = method.into();
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Has the host fill in a secret. The definition of the secret says where it goes.
    #[must_use]
    pub fn secret(mut self, name: impl Into<String>) -> Self {
        self.secrets.push(name.into());
        self
    }
}

impl Response {
    /// Whether the status is a 2xx.
    pub const fn is_success(&self) -> bool {
        self.status >= 200 && self.status < 300
    }

    /// Returns the first value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the body as a type of yours. A body that does not fit is a permanent failure with the
    /// code `bad_payload` that names the place.
    pub fn json<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, Failure> {
        body::decode(&self.body)
    }

    /// Returns the failure that most APIs mean by a status which is not a 2xx: a 408, a 409, a 425, a
    /// 429 and any 5xx may pass, all others do not.
    pub fn failure(&self) -> Failure {
        let message = format!("the receiver answered {}", self.status);
        match self.status {
            408 | 409 | 425 | 429 | 500.. => Failure::retryable("refused", message),
            _ => Failure::permanent("refused", message),
        }
    }
}

impl Outcome {
    /// Says that the receiver has it, under this name or id.
    pub fn delivered_as(id: impl Into<String>) -> Self {
        Self::Delivered(Some(id.into()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Body;

    fn answer(status: u16, body: &str) -> Response {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Response { status, headers, body: Body::Json(body.to_owned()) }
    }

    #[test]
    fn request_is_built_from_its_parts() {
        let request = Request::post_json("https://api.example/x", &json!({"a": 1})).unwrap();
        let request = request.method("PUT").header("x-a", "1").secret("key");
        assert_eq!((request.method.as_str(), request.secrets), ("PUT", vec!["key".to_owned()]));
        assert_eq!(request.headers, [("x-a".to_owned(), "1".to_owned())]);
        assert_eq!(request.body, Some(Body::Json(r#"{"a":1}"#.to_owned())));
        assert_eq!(Request::get("https://api.example/x").body, None);
    }

    #[test]
    fn answer_is_read_by_status_header_and_body() {
        let made = answer(201, r#"{"id":"7"}"#);
        assert!(made.is_success() && !answer(302, "{}").is_success());
        assert_eq!(made.header("content-type"), Some("application/json"));
        assert_eq!(made.json::<serde_json::Value>().unwrap()["id"], "7");
        assert_eq!(made.json::<u8>().unwrap_err().reason().code, "bad_payload");
        for status in [408, 409, 425, 429, 500, 503] {
            assert!(matches!(answer(status, "{}").failure(), Failure::Retryable(_)), "{status}");
        }
        for status in [301, 400, 401, 404, 422] {
            assert!(matches!(answer(status, "{}").failure(), Failure::Permanent(_)), "{status}");
        }
    }
}
