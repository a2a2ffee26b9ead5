//! Reads the header `Retry-After`.

use crate::time::timestamp::Timestamp;
use http::{HeaderMap, header};
use std::time::{Duration, SystemTime};

/// Returns the wait that a `Retry-After` header requests, as seconds or an HTTP date (RFC 9110,
/// section 10.2.3). Returns `None` if there is no header or it has neither form.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    let since_epoch = date.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Some(Timestamp::from_micros(0).after(since_epoch).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const NOW: Timestamp = Timestamp::from_micros(784_111_777_000_000); // Sun, 06 Nov 1994 08:49:37 GMT

    fn asked(value: &str) -> Option<Duration> {
        let headers =
            HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_str(value).unwrap())]);
        retry_after(&headers, NOW)
    }

    #[test]
    fn retry_after_reads_seconds_and_dates() {
        assert_eq!(asked("120"), Some(Duration::from_mins(2)));
        assert_eq!(asked("99999999999999999999999"), Some(Duration::from_secs(u64::MAX)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_mins(1)));
        assert_eq!(asked("Sunday, 06-Nov-94 08:50:37 GMT"), Some(Duration::from_mins(1)));
        assert_eq!(asked("Sun Nov  6 08:50:37 1994"), Some(Duration::from_mins(1)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        for nonsense in ["", "soon", "-5", "1.5"] {
            assert_eq!(asked(nonsense), None, "{nonsense}");
        }
    }
}
