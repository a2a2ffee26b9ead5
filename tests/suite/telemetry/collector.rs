//! A receiver of OTLP over HTTP: takes requests as any collector does, and decodes them.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Form;
use prost::Message as _;
use std::collections::BTreeMap;
use waybill_tests::{Receiver, Settings};

const TRACES: &str = "/v1/traces";
pub(super) const LOGS: &str = "/v1/logs";
/// `STATUS_CODE_ERROR`.
const FAILED: i32 = 2;

/// A collector, listening on loopback.
#[derive(Debug)]
pub(super) struct Collector {
    pub(super) receiver: Receiver,
}

/// A span that came, with the resource that sent it.
#[derive(Debug, Clone)]
pub(super) struct SeenSpan {
    pub(super) name: String,
    pub(super) trace: String,
    pub(super) id: String,
    /// Empty for a span without a parent.
    pub(super) parent: String,
    pub(super) kind: i32,
    pub(super) is_failed: bool,
    pub(super) began: u64,
    pub(super) ended: u64,
    pub(super) service: String,
    pub(super) instance: String,
    attributes: BTreeMap<String, String>,
}

/// A line of the log that came.
#[derive(Debug, Clone)]
pub(super) struct SeenLine {
    pub(super) body: String,
    pub(super) severity: i32,
    pub(super) trace: String,
    pub(super) attributes: BTreeMap<String, String>,
}

impl SeenSpan {
    /// Returns the text of an attribute. Fails the test if there is none.
    pub(super) fn attribute(&self, name: &str) -> &str {
        let found = self.attributes.get(name);
        found.unwrap_or_else(|| panic!("no {name} in {self:#?}"))
    }
}

impl Collector {
    pub(super) async fn start() -> Self {
        Self { receiver: Receiver::start().await }
    }

    /// Returns all spans so far, in the order in which they began.
    fn spans(&self) -> Vec<SeenSpan> {
        let mut spans = Vec::new();
        for arrival in self.receiver.arrivals(TRACES) {
            assert_eq!(arrival.header("content-type"), "application/x-protobuf");
            let request = ExportTraceServiceRequest::decode(arrival.body).unwrap();
            for from in request.resource_spans {
                let resource = texts(&from.resource.unwrap().attributes);
                for span in from.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                    spans.push(SeenSpan {
                        name: span.name,
                        trace: hex::encode(span.trace_id),
                        id: hex::encode(span.span_id),
                        parent: hex::encode(span.parent_span_id),
                        kind: span.kind,
                        is_failed: span.status.is_some_and(|status| status.code == FAILED),
                        began: span.start_time_unix_nano,
                        ended: span.end_time_unix_nano,
                        service: resource["service.name"].clone(),
                        instance: resource["service.instance.id"].clone(),
                        attributes: texts(&span.attributes),
                    });
                }
            }
        }
        spans.sort_by_key(|span| span.began);
        spans
    }

    /// Waits until the spans meet the condition, and returns all of them.
    pub(super) async fn spans_when(&self, wanted: impl Fn(&[SeenSpan]) -> bool) -> Vec<SeenSpan> {
        loop {
            let count = self.receiver.count(TRACES);
            let spans = self.spans();
            if wanted(&spans) {
                return spans;
            }
            self.receiver.wait_for(TRACES, count + 1).await;
        }
    }

    fn lines(&self) -> Vec<SeenLine> {
        let requests = self.receiver.arrivals(LOGS).into_iter();
        let requests =
            requests.map(|arrival| ExportLogsServiceRequest::decode(arrival.body).unwrap());
        let scopes = requests.flat_map(|request| request.resource_logs);
        let records = scopes.flat_map(|from| from.scope_logs).flat_map(|scope| scope.log_records);
        records
            .map(|record| SeenLine {
                body: text_of(record.body.and_then(|body| body.value)),
                severity: record.severity_number,
                trace: hex::encode(record.trace_id),
                attributes: texts(&record.attributes),
            })
            .collect()
    }

    /// Waits for a line, and returns it.
    pub(super) async fn line_when(&self, wanted: impl Fn(&SeenLine) -> bool) -> SeenLine {
        loop {
            let count = self.receiver.count(LOGS);
            if let Some(line) = self.lines().into_iter().find(&wanted) {
                return line;
            }
            self.receiver.wait_for(LOGS, count + 1).await;
        }
    }

    /// Returns every byte that was sent, as text as far as it is one.
    pub(super) fn everything(&self) -> String {
        let arrivals = [TRACES, LOGS].map(|path| self.receiver.arrivals(path)).concat();
        arrivals.iter().map(|arrival| String::from_utf8_lossy(&arrival.body)).collect()
    }
}

/// Has a server export to a collector.
pub(super) fn with_exports(settings: &mut Settings, collector: &Collector) {
    settings.set("telemetry.otlp_endpoint", &collector.receiver.url(""));
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let pair = |one: &KeyValue| {
        let value = one.value.clone().and_then(|value| value.value);
        (one.key.clone(), text_of(value))
    };
    attributes.iter().map(pair).collect()
}

fn text_of(value: Option<Form>) -> String {
    match value {
        Some(Form::StringValue(text)) => text,
        Some(Form::IntValue(number)) => number.to_string(),
        other => panic!("neither a text nor a number: {other:?}"),
    }
}
