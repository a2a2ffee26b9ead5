//! `/metrics`: metrics for Prometheus, in its text format 0.0.4.
//!
//! The route needs no token unless `metrics.require_token` is set. With `metrics.listen` it has a
//! separate listener and is not served beside the API.

use super::AppState;
use super::auth::{self, CallOrigin};
use crate::metrics::exposition::{CONTENT_TYPE, SampledFamily};
use crate::metrics::name_book::{MOST_NAMES, OTHER};
use crate::metrics::process_figures::expose_process;
use crate::settings::source_runtime::{SourceFigures, SourceRuntime};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Path of the metrics.
pub const METRICS: &str = "/metrics";

/// Returns the route of the metrics beside the API.
pub fn metrics_routes(app: &AppState) -> Router<AppState> {
    if app.config.metrics.listen.is_some() {
        return Router::new();
    }
    Router::new().route(METRICS, get(answer_metrics))
}

/// Returns the service of the separate listener.
pub fn metrics_router(app: AppState) -> Router {
    Router::new().route(METRICS, get(answer_metrics)).with_state(app)
}

async fn answer_metrics(State(app): State<AppState>, mut request: Request) -> Response {
    let mut allowance = None;
    if app.config.metrics.require_token {
        let mut caller = CallOrigin::of(&app, &request);
        match auth::admit_caller(&app, &mut request, METRICS, &mut caller).await {
            Ok(admitted) => allowance = admitted,
            Err(problem) => return problem.into_response(),
        }
    }
    let mut response = ([(header::CONTENT_TYPE, CONTENT_TYPE)], expose_all(&app)).into_response();
    response.headers_mut().extend(allowance.into_iter().flat_map(auth::rate_headers));
    response
}

/// Returns all metrics of this process.
fn expose_all(app: &AppState) -> String {
    let families = database_families(app).into_iter().chain(source_families(app));
    let families = families.chain(export_families(app));
    let sampled: String = families.map(SampledFamily::into_text).collect();
    app.journal.metrics().expose_text() + &sampled + &expose_process()
}

fn gauge(name: &'static str, help: &str) -> SampledFamily {
    SampledFamily::new(name, "gauge", help)
}

fn counter(name: &'static str, help: &str) -> SampledFamily {
    SampledFamily::new(name, "counter", help)
}

fn database_families(app: &AppState) -> Vec<SampledFamily> {
    let journal = &app.journal;
    let held: usize = journal.prefetch().lanes().iter().map(|lane| lane.room.count_used()).sum();
    let alerts = app.alerts.board();
    let mut firing = gauge("waybill_alerts_firing", "Firing alerts, by rule and severity.");
    for ((rule, severity), count) in alerts.count_firing() {
        let labels = [("rule", rule), ("severity", severity)];
        firing = firing.with_value(&labels, count);
    }
    vec![
        gauge("waybill_deliveries_in_memory", "Deliveries held in memory.").with_value(&[], held),
        gauge("waybill_write_queue", "Operations that wait for the writers.")
            .with_value(&[], journal.count_queued()),
        gauge("waybill_database_readers", "Connections for reading.")
            .with_value(&[], journal.pool().count_readers()),
        gauge("waybill_database_readers_in_use", "Connections for reading that are in use.")
            .with_value(&[], journal.pool().count_reading()),
        gauge("waybill_leases_in_doubt", "Whether this node may have lost its leases.")
            .with_value(&[], u8::from(journal.doubts_leases())),
        gauge("waybill_alerts_evaluated_here", "Whether this node evaluates the alerts.")
            .with_value(&[], u8::from(alerts.is_here)),
        firing,
    ]
}

/// Returns the counts of exports by OTLP.
fn export_families(app: &AppState) -> [SampledFamily; 2] {
    let mut exported = counter(
        "waybill_telemetry_exported_total",
        "Spans and lines of the log that the OTLP receiver took.",
    );
    let mut dropped = counter(
        "waybill_telemetry_dropped_total",
        "Spans and lines of the log that did not fit into the queue, or that the receiver did not take.",
    );
    for (signal, taken, lost) in app.exports.count_signals() {
        exported = exported.with_value(&[("signal", signal)], taken);
        dropped = dropped.with_value(&[("signal", signal)], lost);
    }
    [exported, dropped]
}

/// Adds the health of sources. Sources beyond the bound are counted together.
fn source_families(app: &AppState) -> Vec<SampledFamily> {
    let snapshot = app.live.current_settings();
    let mut runtimes: Vec<&Arc<SourceRuntime>> = snapshot.source_runtimes().collect();
    runtimes.sort_by(|a, b| a.source.settings.name.cmp(&b.source.settings.name));
    let mut shown: BTreeMap<&str, SourceFigures> = BTreeMap::new();
    for (n, runtime) in runtimes.into_iter().enumerate() {
        let name = if n < MOST_NAMES { runtime.source.settings.name.as_str() } else { OTHER };
        let (sum, own) = (shown.entry(name).or_default(), runtime.health.figures());
        sum.captured += own.captured;
        sum.duplicates += own.duplicates;
        for (reason, count) in own.refused {
            *sum.refused.entry(reason).or_default() += count;
        }
    }
    let mut captured = counter("waybill_source_captured_total", "Events that a source sent.");
    let mut repeats = counter("waybill_source_duplicate_total", "Repeats that a source sent.");
    let mut refused =
        counter("waybill_source_refused_total", "Requests of a source that were refused.");
    for (name, figures) in &shown {
        captured = captured.with_value(&[("source", name)], figures.captured);
        repeats = repeats.with_value(&[("source", name)], figures.duplicates);
        for (reason, count) in &figures.refused {
            refused = refused.with_value(&[("source", name), ("reason", reason)], count);
        }
    }
    let unknown = app.unknown_sources.load(Ordering::Relaxed);
    let unknown = counter("waybill_source_unknown_total", "Webhooks to sources that do not exist.")
        .with_value(&[], unknown);
    vec![captured, repeats, refused, unknown]
}
