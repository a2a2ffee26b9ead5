//! Settings of endpoints: where deliveries go, and how they are made.

use super::cloud_events;
use super::endpoint_auth::EndpointAuth;
use super::endpoint_tls::EndpointTls;
use super::envelope::EnvelopeForm;
use super::field_map::FieldMap;
use super::id::EndpointId;
use super::request_template::{DeliveryMethod, RequestTemplate};
use super::signature_scheme::SignatureScheme;
use crate::model::fault::{InputFault, check_condition, check_name};
use crate::model::type_pattern::TypePattern;
use crate::time::span::TimeSpan;
use crate::time::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// When a delivery is sent, relative to the capture of its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Mode)]
pub enum DeliveryMode {
    /// Immediately. The capturing request waits for the first attempt.
    Immediate,
    /// After a pause. While deliveries for the same record keep coming they collapse, and only the
    /// last state is sent.
    Smart,
    /// Immediately, in the background.
    #[default]
    Async,
}

/// The effect of a `410 Gone`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnGone {
    /// The attempt counts as a failure like any other.
    #[default]
    Retry,
    /// The delivery becomes a dead letter and the endpoint is disabled (as Standard Webhooks 1.0
    /// recommends).
    Disable,
}

/// Schedule of retries. A field that is left out has the configured value.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetrySettings {
    /// The wait before each further attempt. After the last one the delivery becomes a dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>, example = json!(["30s", "5m", "1h"]))]
    pub schedule: Option<Vec<TimeSpan>>,
    /// The share of each wait, 0 to 1, that is added to it at random, at most one minute. If left
    /// out, 0.1; 0 adds nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<f64>,
}

/// A limit on the requests per second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Requests per second on average: above 0, at most 1,000,000.
    pub per_second: f64,
    /// Requests that may be sent together before the rate applies. If left out, 1.
    #[serde(default = "one")]
    pub burst: u32,
}

/// The time for which deliveries of one record collapse in mode `smart`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SmartSettings {
    /// Time for which a record must not change before its last state is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "2s")]
    pub window: Option<TimeSpan>,
    /// Longest wait since the first change, even if further changes keep coming.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "10s")]
    pub max_wait: Option<TimeSpan>,
}

/// The serde default for switches that are on.
pub const fn yes() -> bool {
    true
}

const fn one() -> u32 {
    1
}

/// The settings of an endpoint, without its signing secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointSettings {
    /// The name of the endpoint, unique among endpoints.
    pub name: String,
    /// The kind of the receiving system: `webhook`, or another kind that `GET /api/v1/channels`
    /// lists.
    #[serde(default = "webhook_kind", skip_serializing_if = "is_webhook")]
    #[schema(default = "webhook", example = "webhook")]
    pub kind: String,
    /// The address that deliveries go to. For most kinds this is an `http` or `https` URL; the
    /// description of the kind names its schemes. Characters outside of ASCII are encoded when
    /// sending.
    #[schema(example = "https://erp.example/hooks/waybill")]
    pub url: String,
    /// Further settings of the endpoint's kind: an object that fits the kind's `settings_schema`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub settings: Map<String, Value>,
    /// The event types that the endpoint receives without a flow: exact names, prefixes such as
    /// `invoice.*`, or `*`.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub events: Vec<TypePattern>,
    /// A condition that events and the results of modules must meet: a CEL expression over `type`,
    /// `source`, `resource`, `id`, `data`, `changed`, `previous` and `attributes`.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    #[schema(example = "double(data.total) >= 1000.0")]
    pub condition: Option<String>,
    /// When deliveries are sent: `async` (immediately, in the background), `immediate` (the
    /// capturing request waits for the first attempt) or `smart` (changes of a record collapse).
    #[serde(default)]
    pub mode: DeliveryMode,
    /// Fields of the data to send, and their names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub field_map: Option<FieldMap>,
    /// Further request headers. Over HTTP/1.1 their names are sent in the case written here. Their
    /// values are never shown again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The signing schemes. A request carries the signatures of all of them.
    #[serde(default = "default_schemes")]
    #[schema(value_type = Vec<String>)]
    pub signing: Vec<SignatureScheme>,
    /// The format of the body.
    #[serde(default)]
    #[schema(value_type = String)]
    pub envelope: EnvelopeForm,
    /// Authentication to the receiver. The secrets are never shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<EndpointAuth>,
    /// TLS settings for connections to the receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<EndpointTls>,
    /// The HTTP method of the requests.
    #[serde(default, skip_serializing_if = "DeliveryMethod::is_post")]
    pub method: DeliveryMethod,
    /// A path to append to the path of the URL. CEL expressions are written in braces; their values
    /// are percent-encoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "/leads/{data.id}")]
    pub path: Option<String>,
    /// Parameters to append to the query of the URL: texts, or expressions that begin with `=`. A
    /// parameter with a null value is left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(example = json!({"email": "=data.email"}))]
    pub query: BTreeMap<String, String>,
    /// A body to send instead of an envelope: any JSON value. Strings in it that begin with `=` are
    /// CEL expressions over the names that `where` may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, example = json!({"name": "=data.name", "source": "web"}))]
    pub body: Option<Value>,
    /// Longest time for one attempt. If left out, the configured `delivery.timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "30s")]
    pub timeout: Option<TimeSpan>,
    /// Schedule of retries for failed deliveries.
    #[serde(default)]
    pub retry: RetrySettings,
    /// A limit on the requests per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Most concurrent requests, 1 to 1,000. If left out, the configured `delivery.max_in_flight`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// Time for which deliveries of one record collapse, in mode `smart`.
    #[serde(default)]
    pub smart: SmartSettings,
    /// Whether deliveries of one record are made one after the other, in the order of capture.
    #[serde(default)]
    pub ordered: bool,
    /// Effect of a `410 Gone`: `retry` treats it as any failure, `disable` disables the endpoint.
    #[serde(default)]
    pub on_gone: OnGone,
    /// Whether the endpoint accepts events and gets deliveries. While it is `false`, waiting
    /// deliveries are kept, and events captured meanwhile are not delivered to it.
    #[serde(default = "yes")]
    pub enabled: bool,
}

/// The kind of endpoints that name none: an HTTP request with an envelope.
pub const WEBHOOK: &str = "webhook";

fn webhook_kind() -> String {
    WEBHOOK.to_owned()
}

fn is_webhook(kind: &String) -> bool {
    kind == WEBHOOK
}

fn default_schemes() -> Vec<SignatureScheme> {
    SignatureScheme::DEFAULT.to_vec()
}

/// Longest URL, in bytes.
const MAX_URL: usize = 2_048;
/// Most headers that an endpoint adds.
const MAX_HEADERS: usize = 32;
/// Most concurrent requests.
const MAX_IN_FLIGHT: u32 = 1_000;
/// Longest time-out of an attempt.
const MAX_TIMEOUT: Duration = Duration::from_mins(5);
/// Longest wait in a retry schedule or a smart window.
const MAX_WAIT: Duration = Duration::from_hours(30 * 24);
/// Most steps in a retry schedule.
const MAX_RETRIES: usize = 50;

impl EndpointSettings {
    /// Returns the faults that do not depend on the endpoint's kind.
    pub fn check(&self) -> Vec<InputFault> {
        let mut faults: Vec<InputFault> = check_name(&self.name).err().into_iter().collect();
        if self.url.len() > MAX_URL {
            faults.push(InputFault::new("url", format!("a URL has at most {MAX_URL} bytes")));
        }
        faults.extend(check_condition(self.condition.as_deref()));
        faults.extend(self.check_auth());
        faults.extend(RequestTemplate::read(self).err().into_iter().flatten());
        self.check_headers(&mut faults);
        self.check_limits(&mut faults);
        if self.signing.is_empty() {
            faults.push(InputFault::new(
                "signing",
                "name at least one scheme, or leave `signing` out",
            ));
        }
        faults
    }

    fn check_headers(&self, faults: &mut Vec<InputFault>) {
        if self.headers.len() > MAX_HEADERS {
            faults.push(InputFault::new("headers", format!("at most {MAX_HEADERS} headers")));
        }
        let mut names = BTreeSet::new();
        for (name, value) in &self.headers {
            let path = format!("headers.{name}");
            if !names.insert(name.to_ascii_lowercase()) {
                let message =
                    "this header is set twice; names that differ only in case are the same";
                faults.push(InputFault::new(path, message));
                continue;
            }
            faults.extend(check_header(name, value, &path));
        }
    }

    fn check_limits(&self, faults: &mut Vec<InputFault>) {
        let mut bound = |path: &str, span: Option<TimeSpan>, most: Duration| {
            if span.is_some_and(|s| s.get() > most || s.get().is_zero()) {
                faults.push(InputFault::new(path, format!("from 1ms to {}", TimeSpan::new(most))));
            }
        };
        bound("timeout", self.timeout, MAX_TIMEOUT);
        bound("smart.window", self.smart.window, MAX_WAIT);
        bound("smart.max_wait", self.smart.max_wait, MAX_WAIT);
        for (n, step) in self.retry.schedule.iter().flatten().enumerate() {
            bound(&format!("retry.schedule[{n}]"), Some(*step), MAX_WAIT);
        }
        let smart = self.smart.window.zip(self.smart.max_wait);
        if smart.is_some_and(|(window, max_wait)| window.get() > max_wait.get()) {
            // The configuration file refuses this with the same words.
            faults
                .push(InputFault::new("smart.max_wait", "must not be shorter than `smart.window`"));
        }
        if self.retry.schedule.as_ref().is_some_and(|s| s.len() > MAX_RETRIES) {
            faults.push(InputFault::new("retry.schedule", format!("at most {MAX_RETRIES} steps")));
        }
        if self.retry.jitter.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            faults.push(InputFault::new("retry.jitter", "from 0 to 1"));
        }
        if self.max_in_flight.is_some_and(|n| n == 0 || n > MAX_IN_FLIGHT) {
            faults.push(InputFault::new("max_in_flight", format!("from 1 to {MAX_IN_FLIGHT}")));
        }
        if let Some(limit) = self.rate_limit {
            if !(limit.per_second > 0.0 && limit.per_second <= 1_000_000.0) {
                faults.push(InputFault::new("rate_limit.per_second", "above 0, at most 1000000"));
            }
            if limit.burst == 0 {
                faults.push(InputFault::new("rate_limit.burst", "at least 1"));
            }
        }
    }
}

/// Checks a header that settings add. `path` is the place of the header in the settings.
pub fn check_header(name: &str, value: &str, path: &str) -> Option<InputFault> {
    let why = match http::HeaderName::try_from(name) {
        Err(_) => "this is not an HTTP header name",
        Ok(known) if is_reserved(known.as_str()) => "Waybill sets this header itself",
        Ok(_) if http::HeaderValue::try_from(value).is_err() => {
            "the value has characters that a header cannot contain"
        }
        Ok(_) => return None,
    };
    Some(InputFault::new(path, why))
}

/// Whether a header belongs to the protocol or to Waybill, so that settings must not set it.
fn is_reserved(name: &str) -> bool {
    const RESERVED: [&str; 12] = [
        "host",
        "content-length",
        "content-type",
        "transfer-encoding",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "user-agent",
        "keep-alive",
        "proxy-connection",
        "expect",
    ];
    RESERVED.contains(&name)
        || ["webhook-", "x-waybill-", cloud_events::HEADER_PREFIX]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// A stored endpoint, without its secret.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub id: EndpointId,
    pub settings: EndpointSettings,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: Value) -> EndpointSettings {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_name_and_a_url_are_enough() {
        let endpoint =
            settings(serde_json::json!({"name": "erp", "url": "https://erp.example/in"}));
        assert_eq!(endpoint.check(), []);
        assert_eq!(endpoint.mode, DeliveryMode::Async);
        assert!(endpoint.enabled && !endpoint.ordered);
    }

    #[test]
    fn every_fault_is_named_with_its_place() {
        let endpoint = settings(serde_json::json!({
            "name": "", "url": "ftp://x/", "headers": {"webhook-id": "1", "a b": "x", "x-ok": "\n"},
            "timeout": "1h", "retry": {"schedule": ["0s"], "jitter": 2.0}, "max_in_flight": 0,
            "rate_limit": {"per_second": 0.0, "burst": 0}, "signing": []
        }));
        let mut paths: Vec<_> = endpoint.check().into_iter().map(|fault| fault.path).collect();
        paths.sort();
        assert_eq!(
            paths,
            [
                "headers.a b",
                "headers.webhook-id",
                "headers.x-ok",
                "max_in_flight",
                "name",
                "rate_limit.burst",
                "rate_limit.per_second",
                "retry.jitter",
                "retry.schedule[0]",
                "signing",
                "timeout"
            ]
        );
    }

    #[test]
    fn a_webhook_is_written_without_its_kind() {
        let endpoint =
            settings(serde_json::json!({"name": "erp", "url": "https://erp.example/in"}));
        let written = serde_json::to_value(&endpoint).unwrap();
        assert!(written.get("kind").is_none() && written.get("settings").is_none(), "{written}");
    }
}
