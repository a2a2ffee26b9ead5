//! Runs the sample cases of a module's manifest.

use super::output::EventDraft;
use super::sample_event::SampleEvent;
use super::{LoadedModule, ModuleDispatch, ModuleFailure, ModuleInput, RoutedEvent, RunEnd};
use crate::model::case_report::{CasesReport, NOT_RUN};
use crate::model::config_schema::ConfigSchema;
use crate::model::flow::{FlowModule, ModuleConfig};
use crate::model::module_manifest::{ModuleManifest, SampleCase};
use crate::time::timestamp::Timestamp;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time that the cases of one version may take together. The running case ends by its own limits.
pub const CASES_TIME: Duration = Duration::from_secs(10);

impl LoadedModule {
    /// Runs the cases of the manifest as a trial runs an event: under the limits of live events,
    /// and with nothing granted. Returns `None` if there are no cases.
    pub async fn run_cases(&self, now: Timestamp) -> Option<CasesReport> {
        let manifest = self.report().manifest.clone().filter(|found| !found.cases.is_empty())?;
        let (began, mut report) = (Instant::now(), CasesReport::new(now));
        for case in &manifest.cases {
            let left = CASES_TIME.saturating_sub(began.elapsed());
            let got = self.run_case(&manifest, case, left).await;
            report.note_case(&case.name, case.expect.as_ref(), got);
        }
        Some(report)
    }

    async fn run_case(
        &self,
        manifest: &ModuleManifest,
        case: &SampleCase,
        left: Duration,
    ) -> Value {
        if left.is_zero() {
            let seconds = CASES_TIME.as_secs();
            return not_run(&format!("the cases before it took {seconds} s, the time of all"));
        }
        let Some(event) = SampleEvent::read(&case.event) else {
            return not_run("its `event` needs `type` and `data`");
        };
        let config = match read_config(manifest.config.as_ref(), case.config.as_ref()) {
            Ok(config) => Arc::new(config),
            Err(why) => return not_run(&why),
        };
        let attributes = event.attribute_pairs();
        let input = ModuleInput { patience: left, ..event.input(&attributes) };
        tell_end(&self.run(input, &config).await.end)
    }
}

fn not_run(why: &str) -> Value {
    json!({ "end": "failed", "reason": NOT_RUN, "detail": why })
}

/// Reads the configuration of a case as a flow would, or says what is wrong with it.
pub fn read_config(
    schema: Option<&ConfigSchema>,
    config: Option<&Value>,
) -> Result<ModuleConfig, String> {
    let config = match config {
        None => Map::new(),
        Some(Value::Object(members)) => members.clone(),
        Some(_) => return Err("its `config` is not an object".to_owned()),
    };
    let config = config.into_iter().collect();
    let faults = schema.map(|schema| schema.check_config(&config)).unwrap_or_default();
    match faults.as_slice() {
        [] => Ok(FlowModule { config, ..FlowModule::default() }.readable_config(schema)),
        [fault, ..] => Err(format!("its `config` does not fit: {}: {}", fault.path, fault.message)),
    }
}

/// Describes the result of a run in the words of the trace, without the members that the module
/// left unset.
pub fn tell_end(end: &RunEnd) -> Value {
    match end {
        RunEnd::Dropped { reason } => json!({ "end": "dropped", "reason": reason }),
        RunEnd::Failed(failure) => tell_failure(failure),
        RunEnd::Out(routed) => {
            let out: Vec<Value> = routed.iter().map(tell_routed).collect();
            json!({ "end": "out", "out": out })
        }
    }
}

/// Describes the failure of a run.
pub fn tell_failure(failure: &ModuleFailure) -> Value {
    match failure {
        ModuleFailure::Host { .. } => not_run(&failure.to_string()),
        ModuleFailure::Trap { .. }
        | ModuleFailure::Timeout { .. }
        | ModuleFailure::Memory { .. }
        | ModuleFailure::Output { .. }
        | ModuleFailure::Declared { .. } => {
            json!({ "end": "failed", "reason": failure.reason(), "detail": failure.to_string() })
        }
    }
}

fn tell_routed(routed: &RoutedEvent) -> Value {
    let draft = routed.draft.as_ref().map(tell_draft);
    let dispatches = routed.dispatches.as_ref();
    let dispatches = dispatches.map(|all| all.iter().map(tell_dispatch).collect::<Vec<_>>());
    set_members([("draft", json!(draft)), ("dispatches", json!(dispatches))])
}

fn tell_draft(draft: &EventDraft) -> Value {
    set_members([
        ("type", json!(draft.kind)),
        ("resource_id", json!(draft.subject)),
        ("attributes", tell_attributes(&draft.attributes)),
        ("data", read_payload(&draft.data)),
    ])
}

fn tell_dispatch(dispatch: &ModuleDispatch) -> Value {
    let delay = (dispatch.delay_seconds > 0).then_some(dispatch.delay_seconds);
    set_members([
        ("endpoint", json!(dispatch.destination)),
        ("operation", json!(dispatch.operation)),
        ("delay_seconds", json!(delay)),
        ("dedupe_key", json!(dispatch.dedupe_key)),
        ("ordering_key", json!(dispatch.ordering_key)),
        ("cancel_key", json!(dispatch.cancel_key)),
        ("attributes", tell_attributes(&dispatch.attributes)),
        ("data", dispatch.data.as_deref().map(read_payload).unwrap_or_default()),
    ])
}

fn tell_attributes(attributes: &[(String, String)]) -> Value {
    if attributes.is_empty() {
        return Value::Null;
    }
    attributes.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect()
}

/// Reads a payload, which was already checked to be JSON.
fn read_payload(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// Returns an object with the members that are not null.
pub fn set_members<const N: usize>(members: [(&str, Value); N]) -> Value {
    let set = members.into_iter().filter(|(_, value)| !value.is_null());
    set.map(|(name, value)| (name.to_owned(), value)).collect()
}
