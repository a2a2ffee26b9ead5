//! Judges the answers of the service.

use crate::channels::delivery_channel::{ChannelOutcome, ChannelReply};
use crate::net::error_class::ErrorClass;
use crate::net::http_client::ClientReply;
use crate::net::retry_after::retry_after;
use crate::time::timestamp::Timestamp;
use http::{HeaderMap, StatusCode, header};

/// Longest error code that is read, in characters. The longest of Amazon S3 has 44.
const MAX_CODE: usize = 64;

/// Returns the reply of an attempt.
pub fn read_answer(reply: ClientReply, at: Timestamp) -> ChannelReply {
    let code = find_code(&reply.body);
    let outcome = judge(reply.status, &code, &reply.headers, at.after(reply.duration));
    let error = (outcome != ChannelOutcome::Delivered)
        .then(|| explain(reply.status, &code, &reply.headers));
    ChannelReply {
        outcome,
        status: Some(reply.status.as_u16()),
        headers: Some(reply.headers),
        answer: Some(reply.body),
        truncated: reply.truncated,
        error,
        ..ChannelReply::delivered(reply.duration)
    }
}

/// Returns the error code of an answer, such as `NoSuchKey`. Empty if there is none.
fn find_code(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    let code = code.map(|(code, _)| code).unwrap_or_default();
    let is_code = code.len() <= MAX_CODE && code.chars().all(|c| c.is_ascii_alphanumeric());
    if is_code { code.to_owned() } else { String::new() }
}

fn judge(status: StatusCode, code: &str, headers: &HeaderMap, now: Timestamp) -> ChannelOutcome {
    let Some(class) = ErrorClass::of_status(status) else { return ChannelOutcome::Delivered };
    let asked = retry_after(headers, now);
    let is_passing = matches!(status.as_u16(), 408 | 409 | 425) || code == "RequestTimeout";
    match (status.as_u16(), code) {
        // The name of an object holds the digest of its content, so it is the same object.
        (412, _) => ChannelOutcome::Delivered,
        (429, _) | (_, "SlowDown") => ChannelOutcome::HeldBack { class, asked },
        (503, _) if asked.is_some() => ChannelOutcome::HeldBack { class, asked },
        // An operator mends these while the schedule goes on.
        (_, "RequestTimeTooSkewed" | "ExpiredToken" | "TokenRefreshRequired") => {
            ChannelOutcome::Again { class: ErrorClass::Auth, after: asked }
        }
        (300..=499 | 501, _) if !is_passing => ChannelOutcome::Dead { class: ErrorClass::Rejected },
        _ => ChannelOutcome::Again { class, after: asked },
    }
}

/// Says what is wrong and what to do about it.
fn explain(status: StatusCode, code: &str, headers: &HeaderMap) -> String {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let advice = match (status.as_u16(), code) {
        (_, "RequestTimeTooSkewed") => {
            let clock = header(header::DATE.as_str()).unwrap_or("another time");
            format!("this machine's clock is wrong by more than 15 minutes: the service says {clock}")
        }
        (_, "ExpiredToken" | "TokenRefreshRequired") => {
            "the session token has expired: set new credentials".to_owned()
        }
        (_, "InvalidAccessKeyId" | "InvalidToken") => {
            "the service does not know the access key: set `access_key`, and `token` for temporary credentials".to_owned()
        }
        (_, "SignatureDoesNotMatch") => {
            "the signature is wrong: check `secret_key`, `region` and a proxy that changes requests".to_owned()
        }
        (_, "NoSuchBucket") => "the bucket does not exist: create it, or correct `bucket`".to_owned(),
        (401 | 403, _) => {
            "these credentials may not put objects here: permit s3:PutObject for the folder, and the use of the key if it is encrypted".to_owned()
        }
        (_, "AuthorizationHeaderMalformed") | (300..=399, _) => {
            let region = header("x-amz-bucket-region").unwrap_or("another region");
            format!("the bucket is in {region}: set `region` and the host of `url`")
        }
        (501, _) => "the service does not know a header of the request: if it is If-None-Match, set `overwrite`".to_owned(),
        (404 | 405, _) => "this is not an address of a bucket: check `url`, `bucket` and `addressing`".to_owned(),
        _ => String::new(),
    };
    let code = if code.is_empty() { String::new() } else { format!(" {code}") };
    let separator = if advice.is_empty() { "" } else { "; " };
    format!("answered {}{code}{separator}{advice}", status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn judged(status: u16, code: &str) -> ChannelOutcome {
        let status = StatusCode::from_u16(status).unwrap();
        judge(status, code, &HeaderMap::new(), Timestamp::default())
    }

    #[test]
    fn each_answer_has_its_outcome() {
        let dead = ChannelOutcome::Dead { class: ErrorClass::Rejected };
        for (status, code) in [(200, ""), (204, ""), (412, "PreconditionFailed"), (412, "")] {
            assert_eq!(judged(status, code), ChannelOutcome::Delivered, "{status} {code}");
        }
        for (status, code) in [
            (400, "InvalidArgument"),
            (403, "AccessDenied"),
            (403, "SignatureDoesNotMatch"),
            (404, "NoSuchBucket"),
            (301, "PermanentRedirect"),
            (501, "NotImplemented"),
        ] {
            assert_eq!(judged(status, code), dead, "{status} {code}");
        }
        for (status, code) in [
            (500, "InternalError"),
            (503, ""),
            (409, "ConditionalRequestConflict"),
            (403, "RequestTimeTooSkewed"),
            (400, "ExpiredToken"),
            (400, "RequestTimeout"),
        ] {
            let outcome = judged(status, code);
            assert!(matches!(outcome, ChannelOutcome::Again { .. }), "{status} {code}");
        }
        for (status, code) in [(503, "SlowDown"), (429, "")] {
            let outcome = judged(status, code);
            assert!(matches!(outcome, ChannelOutcome::HeldBack { .. }), "{status} {code}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, 7.into());
        let held = judge(StatusCode::SERVICE_UNAVAILABLE, "", &headers, Timestamp::default());
        let class = ErrorClass::ServerError;
        let asked = Some(Duration::from_secs(7));
        assert_eq!(held, ChannelOutcome::HeldBack { class, asked });
    }

    #[test]
    fn a_failure_says_what_to_do() {
        let mut headers = HeaderMap::new();
        headers.insert(header::DATE, "Mon, 30 Nov 2026 12:00:00 GMT".parse().unwrap());
        headers.insert("x-amz-bucket-region", "eu-west-1".parse().unwrap());
        for (status, code, word) in [
            (403, "RequestTimeTooSkewed", "Mon, 30 Nov 2026 12:00:00 GMT"),
            (403, "AccessDenied", "s3:PutObject"),
            (404, "NoSuchBucket", "create it"),
            (301, "PermanentRedirect", "eu-west-1"),
            (501, "NotImplemented", "`overwrite`"),
        ] {
            let text = explain(StatusCode::from_u16(status).unwrap(), code, &headers);
            assert!(text.contains(word) && text.contains(code), "{text}");
        }
        let plain = explain(StatusCode::INTERNAL_SERVER_ERROR, "", &headers);
        assert_eq!(plain, "answered 500");
    }

    #[test]
    fn a_code_is_found_in_an_answer() {
        let body =
            b"<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>x</Message></Error>";
        assert_eq!(find_code(body), "SlowDown");
        for body in ["", "<Code>", "<Code>a b</Code>", "<Error/>"] {
            assert_eq!(find_code(body.as_bytes()), "", "{body}");
        }
    }
}
