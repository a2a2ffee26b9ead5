//! The rules of the section `telemetry`.

use super::{Config, ConfigRule};
use crate::net::http_url::read_http_url;
use http::{HeaderName, HeaderValue};

/// The place of a trace's id in `telemetry.trace_url`.
pub const TRACE_PLACE: &str = "{trace_id}";
/// Most headers of an export.
const MOST_HEADERS: usize = 20;
/// What is wrong with headers, whatever it is.
pub const HEADERS_FORM: &str = "must be at most 20 headers with names and values that HTTP permits, such as \
                                { authorization = \"Bearer ...\" }";

impl Config {
    pub(super) fn telemetry_rules(&self) -> [ConfigRule; 6] {
        let telemetry = &self.telemetry;
        let is_endpoint = |text: &str| read_http_url(text).is_ok_and(|uri| uri.query().is_none());
        let is_trace_url = |text: &String| {
            text.contains(TRACE_PLACE) && read_http_url(&text.replace(TRACE_PLACE, "0")).is_ok()
        };
        [
            (
                telemetry.otlp_endpoint.as_ref().is_none_or(|url| is_endpoint(url.expose())),
                "telemetry.otlp_endpoint",
                "must be an http or https URL without a query, such as \"http://127.0.0.1:4318\"; \
                 /v1/traces and /v1/logs are added to it",
            ),
            (self.has_valid_headers(), "telemetry.otlp_headers", HEADERS_FORM),
            (
                (0.0..=1.0).contains(&telemetry.sample_ratio),
                "telemetry.sample_ratio",
                "must be 0.0 (none) to 1.0 (all)",
            ),
            (
                (1..=255).contains(&telemetry.service_name.len()),
                "telemetry.service_name",
                "must be 1 to 255 bytes",
            ),
            (
                (64..=1_000_000).contains(&telemetry.max_queue),
                "telemetry.max_queue",
                "must be 64 to 1000000",
            ),
            (
                telemetry.trace_url.as_ref().is_none_or(is_trace_url),
                "telemetry.trace_url",
                "must be an http or https URL with {trace_id} in it, such as \
                 \"https://jaeger.example/trace/{trace_id}\"",
            ),
        ]
    }

    fn has_valid_headers(&self) -> bool {
        let headers = &self.telemetry.otlp_headers;
        headers.len() <= MOST_HEADERS
            && headers.iter().all(|(name, value)| {
                name.parse::<HeaderName>().is_ok() && HeaderValue::from_str(value.expose()).is_ok()
            })
    }
}
