//! Parses headers as people capture them.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

/// The part of a text that is not a header.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableHeader {
    /// A line has no colon.
    #[error("line {line} is not a header; write `Name: value`")]
    Line { line: usize },
    /// A name or value has characters that no header may have.
    #[error("`{name}` is not a header name, or its value has characters that no header may have")]
    Header { name: String },
    /// The JSON is not an object of texts.
    #[error("the JSON must be an object of header names with texts, or lists of texts")]
    Json,
}

/// Parses lines `Name: value` as curl and proxies print them, or a JSON object.
pub fn parse_headers(text: &str) -> Result<HeaderMap, UnreadableHeader> {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with('{') { parse_json(text) } else { parse_lines(text) }
}

fn parse_json(text: &str) -> Result<HeaderMap, UnreadableHeader> {
    let object: serde_json::Map<String, Value> =
        serde_json::from_str(text).ok().ok_or(UnreadableHeader::Json)?;
    let mut headers = HeaderMap::new();
    for (name, value) in &object {
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        for value in values {
            add(&mut headers, name, &scalar(value).ok_or(UnreadableHeader::Json)?)?;
        }
    }
    Ok(headers)
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Parses the first block of header lines. Skips request and status lines, HTTP/2's pseudo-headers
/// and the other output of `curl -v`.
fn parse_lines(text: &str) -> Result<HeaderMap, UnreadableHeader> {
    let mut headers = HeaderMap::new();
    for (index, line) in text.lines().enumerate() {
        let line =
            line.strip_prefix("> ").or_else(|| line.strip_prefix("< ")).unwrap_or(line).trim();
        if line.is_empty() || line == ">" || line == "<" {
            if headers.is_empty() {
                continue;
            }
            break;
        }
        let beside = line.starts_with(':') || line.starts_with("* ") || line.starts_with("HTTP/");
        if beside || line.contains(" HTTP/") && headers.is_empty() {
            continue;
        }
        let (name, value) =
            line.split_once(':').ok_or(UnreadableHeader::Line { line: index + 1 })?;
        add(&mut headers, name.trim(), value.trim())?;
    }
    Ok(headers)
}

fn add(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), UnreadableHeader> {
    let parsed = HeaderName::try_from(name).ok().zip(HeaderValue::from_str(value).ok());
    let (name, value) = parsed.ok_or_else(|| UnreadableHeader::Header { name: name.to_owned() })?;
    headers.append(name, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let headers = parse_headers(text).unwrap();
        headers.iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect()
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn lines_are_read_as_tools_print_them() {
        let expected = pairs(&[("webhook-id", "dlv_1"), ("x-a", "t=1,v1=b: c")]);
        for text in [
            "webhook-id: dlv_1\nX-A:t=1,v1=b: c\n",
            "POST http://h:80/x HTTP/1.1\r\nwebhook-id: dlv_1\r\nx-a: t=1,v1=b: c\r\n\r\n{\"a\": 1}",
            "* Connected to h\n> POST /x HTTP/1.1\n> Webhook-Id: dlv_1\n> x-a: t=1,v1=b: c\n>\n< HTTP/1.1 200 OK\n< x-b: 1\n",
            ":method: POST\nwebhook-id: dlv_1\nx-a: t=1,v1=b: c",
            "\u{feff}HTTP/2 200\nwebhook-id: dlv_1\nx-a: t=1,v1=b: c",
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        assert_eq!(read(""), []);
    }

    #[test]
    fn json_objects_are_read() {
        let expected = pairs(&[("webhook-timestamp", "17"), ("x-a", "1"), ("x-a", "2")]);
        assert_eq!(read(r#" {"Webhook-Timestamp": 17, "x-a": ["1", "2"]}"#), expected);
    }

    #[test]
    fn what_is_no_header_is_named() {
        assert_eq!(parse_headers("a: 1\nnonsense\n"), Err(UnreadableHeader::Line { line: 2 }));
        assert_eq!(
            parse_headers("a b: 1"),
            Err(UnreadableHeader::Header { name: "a b".to_owned() })
        );
        for text in ["{", "{\"a\": {}}", "{\"a\": [null]}"] {
            assert_eq!(parse_headers(text), Err(UnreadableHeader::Json), "{text}");
        }
    }
}
