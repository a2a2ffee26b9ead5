//! The answers of a case, which take the place of other systems.

use super::call_values::{ModuleBody, ModuleReply, ModuleRequest, RequestRefusal};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An answer of a case, and the request that gets it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseAnswer {
    /// Method of the request.
    #[serde(default = "get_method")]
    pub method: String,
    /// Whole URL of the request, as the module writes it.
    pub url: String,
    #[serde(default = "status_ok")]
    pub status: u16,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body. A text is returned as text, anything else as JSON.
    #[serde(default)]
    pub body: Value,
    /// The failure that the module gets in the place of an answer.
    #[serde(default)]
    pub fails: Option<MissedAnswer>,
}

/// Why a request gets no answer. In a case: `timeout` or `unreachable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MissedAnswer {
    Timeout,
    Unreachable,
}

fn get_method() -> String {
    "GET".to_owned()
}

const fn status_ok() -> u16 {
    200
}

/// The answers that are left, and the requests that were made.
#[derive(Debug, Default)]
pub struct CallRehearsal(Mutex<RehearsalCourse>);

#[derive(Debug, Default)]
struct RehearsalCourse {
    left: Vec<CaseAnswer>,
    made: Vec<Value>,
}

impl CallRehearsal {
    pub fn new(answers: Vec<CaseAnswer>) -> Self {
        Self(Mutex::new(RehearsalCourse { left: answers, made: Vec::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, RehearsalCourse> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the first answer that is left for this method and URL, and notes the request.
    pub fn answer(&self, request: &ModuleRequest) -> Result<ModuleReply, RequestRefusal> {
        let mut course = self.lock();
        course.made.push(tell_request(request));
        let fits = |one: &CaseAnswer| one.method == request.method && one.url == request.url;
        let Some(place) = course.left.iter().position(fits) else {
            let (method, url) = (&request.method, &request.url);
            let message = format!("the case has no answer to {method} {url} that is left");
            return Err(RequestRefusal::permanent("not_recorded", message));
        };
        course.left.remove(place).into_reply()
    }

    /// Takes the requests that were made since the last call.
    pub fn take_made(&self) -> Vec<Value> {
        std::mem::take(&mut self.lock().made)
    }
}

impl CaseAnswer {
    fn into_reply(self) -> Result<ModuleReply, RequestRefusal> {
        match self.fails {
            Some(MissedAnswer::Timeout) => {
                return Err(RequestRefusal::passing("timeout", "no answer came in time"));
            }
            Some(MissedAnswer::Unreachable) => {
                return Err(RequestRefusal::passing("unreachable", "no answer: connect"));
            }
            None => {}
        }
        let body = match self.body {
            Value::Null => ModuleBody::Text(String::new()),
            Value::String(text) => ModuleBody::Text(text),
            json @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                ModuleBody::Json(json.to_string())
            }
        };
        let lower = |(name, value): (String, String)| (name.to_ascii_lowercase(), value);
        let headers = self.headers.into_iter().map(lower).collect();
        Ok(ModuleReply { status: self.status, headers, body })
    }
}

/// Describes a request as the module made it: secrets by their names.
fn tell_request(request: &ModuleRequest) -> Value {
    let ModuleRequest { method, url, headers, secrets, body } = request;
    let mut told = Map::new();
    told.insert("method".to_owned(), json!(method));
    told.insert("url".to_owned(), json!(url));
    if !headers.is_empty() {
        let headers = headers.iter().map(|(name, value)| (name.clone(), json!(value)));
        told.insert("headers".to_owned(), Value::Object(headers.collect()));
    }
    if !secrets.is_empty() {
        told.insert("secrets".to_owned(), json!(secrets));
    }
    let body = body.as_ref().map(|body| match body {
        ModuleBody::Json(text) => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        ModuleBody::Text(text) => json!(text),
        ModuleBody::Bytes(bytes) => json!({ "bytes": hex::encode(bytes) }),
    });
    told.extend(body.map(|body| ("body".to_owned(), body)));
    Value::Object(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, url: &str) -> ModuleRequest {
        let (method, url) = (method.to_owned(), url.to_owned());
        ModuleRequest { method, url, headers: Vec::new(), secrets: Vec::new(), body: None }
    }

    #[test]
    fn each_answer_is_given_once_to_its_request() {
        let answers = json!([
            {"url": "https://a.example/1", "body": {"n": 1}},
            {"url": "https://a.example/1", "fails": "timeout"},
            {"url": "https://a.example/1", "method": "POST", "status": 409, "body": "taken"},
        ]);
        let rehearsal = CallRehearsal::new(serde_json::from_value(answers).unwrap());
        let ask = |method: &str| rehearsal.answer(&request(method, "https://a.example/1"));
        let taken = ask("POST").unwrap();
        assert_eq!((taken.status, taken.body), (409, ModuleBody::Text("taken".to_owned())));
        assert_eq!(ask("GET").unwrap().body, ModuleBody::Json(r#"{"n":1}"#.to_owned()));
        assert_eq!(ask("GET").unwrap_err().code, "timeout");
        assert_eq!(ask("GET").unwrap_err().code, "not_recorded");
        assert_eq!(rehearsal.take_made().len(), 4);
        assert!(rehearsal.take_made().is_empty());
    }
}
