//! JSON in and out of a payload.

use serde::{Deserialize, Serialize};
use serde_path_to_error::{Path, Segment};

use crate::{Body, Failure};

/// Reads a payload. A payload of the wrong shape is a permanent failure that names the place.
pub(crate) fn decode<'a, T: Deserialize<'a>>(body: &'a Body) -> Result<T, Failure> {
    let text = match body {
        Body::Json(text) => text,
        Body::Text(_) => return Err(bad_payload("the payload is text, not JSON")),
        Body::Bytes(_) => return Err(bad_payload("the payload is bytes, not JSON")),
    };
    serde_json::from_str(text).map_err(|error| locate::<T>(text, &error))
}

/// Writes a payload.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Body, Failure> {
    serde_json::to_string(value).map(Body::Json).map_err(|error| {
        Failure::permanent("bad_output", format!("a value cannot be written as JSON: {error}"))
    })
}

/// Reads once more, now keeping track of the path: too slow for every event, right for a failure.
#[cold]
fn locate<'a, T: Deserialize<'a>>(text: &'a str, error: &serde_json::Error) -> Failure {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(located) => bad_payload(located.inner().to_string()).at(pointer(located.path())),
        Ok(_) => bad_payload(error.to_string()),
    }
}

fn bad_payload(message: impl Into<String>) -> Failure {
    Failure::permanent("bad_payload", message)
}

/// The path as a JSON Pointer (RFC 6901, section 3 for the escapes).
fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => {
                pointer.push('/');
                pointer.push_str(&index.to_string());
            }
            Segment::Map { key } => {
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            // An enum's tag is a key of its own where it stands in the text.
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Order {
        lines: Vec<Line>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Line {
        #[serde(rename = "a/b~c")]
        count: u32,
    }

    fn failure(text: &str) -> Failure {
        decode::<Order>(&Body::Json(text.to_owned())).unwrap_err()
    }

    #[test]
    fn payload_is_read_typed() {
        let body = Body::Json(r#"{"lines":[{"a/b~c":3}],"other":null}"#.to_owned());
        assert_eq!(decode(&body), Ok(Order { lines: vec![Line { count: 3 }] }));
    }

    #[test]
    fn strings_are_borrowed_from_the_payload() {
        let body = Body::Json(r#"["one","two"]"#.to_owned());
        assert_eq!(decode::<Vec<&str>>(&body), Ok(vec!["one", "two"]));
    }

    #[test]
    fn wrong_type_names_its_place() {
        let failure = failure(r#"{"lines":[{"a/b~c":1},{"a/b~c":"2"}]}"#);
        assert!(matches!(failure, Failure::Permanent(_)));
        assert_eq!(failure.reason().code, "bad_payload");
        assert_eq!(failure.reason().pointer.as_deref(), Some("/lines/1/a~1b~0c"));
        assert!(failure.reason().message.contains("expected u32"), "{failure:?}");
    }

    #[test]
    fn missing_field_is_named_with_its_parent() {
        let failure = failure(r#"{"lines":[{}]}"#);
        assert_eq!(failure.reason().pointer.as_deref(), Some("/lines/0"));
        assert!(failure.reason().message.contains("missing field `a/b~c`"), "{failure:?}");
    }

    #[test]
    fn what_follows_the_value_is_refused() {
        let failure = failure(r#"{"lines":[]} x"#);
        assert!(failure.reason().message.contains("trailing characters"), "{failure:?}");
    }

    #[test]
    fn other_bodies_are_no_json() {
        for body in [Body::Text("{}".to_owned()), Body::Bytes(b"{}".to_vec())] {
            let failure = decode::<Order>(&body).unwrap_err();
            assert!(failure.reason().message.ends_with("not JSON"), "{failure:?}");
        }
    }

    #[test]
    fn unwritable_value_is_a_permanent_failure() {
        let failure = encode(&std::collections::BTreeMap::from([((1, 2), 3)])).unwrap_err();
        assert_eq!(failure.reason().code, "bad_output");
    }
}
