//! The requests of an attempt as its record shows them.

use crate::wasm::LogLine;
use crate::wasm::guest_log::clip;
use crate::wasm::outgoing::attempt_calls::AnsweredCall;
use std::borrow::Cow;
use std::fmt::Write as _;

/// Most bytes of the address of the last request, and of each before it.
const LONGEST_PLACE: usize = 2_000;
const LONGEST_EARLIER: usize = 300;
/// Most bytes of the log that the record of an attempt keeps.
const LONGEST_LOG: usize = 8 << 10;

/// Names and values of a record.
type RecordedNames = Vec<(Cow<'static, str>, String)>;

/// What an attempt did, for its record.
#[derive(Debug)]
pub struct ShownCalls {
    /// The module, its version and its digest.
    module: String,
    /// The requests before the last one, with their answers.
    earlier: Vec<String>,
    /// The method and the address of the last request.
    place: Option<String>,
    /// The headers of the last request.
    headers: Vec<(String, String)>,
    /// The status of the answer to the last request, if it was answered.
    status: Option<u16>,
    log: String,
}

impl ShownCalls {
    /// Starts the record of an attempt by a module.
    pub fn of_module(name: &str, version: u32, sha256: &str) -> Self {
        Self {
            module: format!("{name} version {version}, sha256 {sha256}"),
            earlier: Vec::new(),
            place: None,
            headers: Vec::new(),
            status: None,
            log: String::new(),
        }
    }

    /// Notes a request that was answered.
    pub fn note_call(&mut self, call: &AnsweredCall) {
        self.note_place(&call.place);
        self.headers.clone_from(&call.headers);
        self.status = Some(call.reply.status.as_u16());
    }

    /// Notes a request that was not answered.
    pub fn note_place(&mut self, place: &str) {
        if let (Some(before), Some(status)) = (self.place.take(), self.status.take()) {
            self.earlier.push(format!("{}: answered {status}", clip(&before, LONGEST_EARLIER)));
        }
        self.headers.clear();
        self.place = Some(clip(place, LONGEST_PLACE).to_owned());
    }

    /// Notes the log lines of a call, as far as there is room.
    pub fn note_lines(&mut self, lines: &[LogLine]) {
        for line in lines {
            if self.log.len() >= LONGEST_LOG {
                return;
            }
            let level = format!("{:?}", line.level).to_lowercase();
            // Writing to a String does not fail.
            let _ = write!(self.log, "{level}: {}", line.message);
            for (name, value) in &line.fields {
                let _ = write!(self.log, " {name}={value}");
            }
            self.log.push('\n');
        }
    }

    /// Returns the names and values. A header cannot have one of the names in parentheses.
    pub fn into_request(self) -> RecordedNames {
        let mut shown = vec![(Cow::from("(module)"), self.module)];
        let earlier = self.earlier.into_iter().enumerate();
        shown.extend(earlier.map(|(n, text)| (Cow::from(format!("(request {})", n + 1)), text)));
        shown.extend(self.place.map(|place| (Cow::from("(request)"), place)));
        if !self.log.is_empty() {
            let log = clip(&self.log, LONGEST_LOG).trim_end().to_owned();
            shown.push((Cow::from("(log)"), log));
        }
        shown.extend(self.headers.into_iter().map(|(name, text)| (Cow::from(name), text)));
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::http_client::ClientReply;
    use crate::wasm::guest_log::LogLevel;
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};
    use std::time::Duration;

    fn call(place: &str, status: StatusCode) -> AnsweredCall {
        let reply = ClientReply {
            status,
            version: http::Version::HTTP_11,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            truncated: false,
            duration: Duration::ZERO,
        };
        let headers = vec![("x-of".to_owned(), place.to_owned())];
        AnsweredCall { place: place.to_owned(), headers, reply }
    }

    #[test]
    fn the_last_request_is_shown_whole_and_the_others_in_short() {
        let mut shown = ShownCalls::of_module("m", 2, "ab12");
        shown.note_call(&call("GET /find", StatusCode::NOT_FOUND));
        shown.note_call(&call("POST /make", StatusCode::CREATED));
        let line = |n: usize| LogLine {
            level: LogLevel::Info,
            message: format!("line {n} {}", "x".repeat(1_000)),
            fields: vec![("a".to_owned(), "1".to_owned())],
        };
        shown.note_lines(&(0..20).map(line).collect::<Vec<_>>());
        let shown = shown.into_request();
        let find = |wanted: &str| shown.iter().find(|(name, _)| name == wanted).unwrap().1.as_str();
        assert_eq!(find("(module)"), "m version 2, sha256 ab12");
        assert_eq!(find("(request 1)"), "GET /find: answered 404");
        assert_eq!((find("(request)"), find("x-of")), ("POST /make", "POST /make"));
        assert!(find("(log)").starts_with("info: line 0 x") && find("(log)").len() <= LONGEST_LOG);
    }
}
