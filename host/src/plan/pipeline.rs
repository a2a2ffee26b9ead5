//! One event through one flow's modules, in order.
//!
//! Each module has one fresh instance for each event that reaches it, shared by its roles. A filter
//! ends the event's way or lets it on, a transform replaces it by any number of events, a route
//! chooses among the flow's endpoints; where several modules route, the last one decides.

use crate::domain::event::{Event, Message};
use crate::domain::pattern::is_event_type;
use crate::journal::{Draft, Journal};
use crate::topology::target::{Dispatch, Target};
use crate::topology::{Route, Stage};
use crate::wasm::{self, End, Failure, Input, LogLine, Routed, Step};
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;

/// Runs one flow on one event.
#[derive(Debug)]
pub struct Planner<'a> {
    /// Makes deliveries.
    pub journal: &'a Journal,
    /// The flow.
    pub route: &'a Route,
    /// The event.
    pub event: &'a Event,
    /// 1, 2, …
    pub attempt: i32,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The deliveries, or how the modules failed.
    pub result: Result<Vec<Draft>, Failed>,
    /// The trace, as a JSON list.
    pub steps: String,
}

/// How the modules failed.
#[derive(Debug)]
pub struct Failed {
    /// Why, in a word.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub detail: String,
    /// How often to try again at most.
    pub most_retries: usize,
    /// When, if the module said so.
    pub after: Option<Duration>,
}

/// One line of the trace.
#[derive(Debug, Serialize)]
pub struct TraceStep<'a> {
    module: Option<&'a str>,
    version: Option<u32>,
    role: &'a str,
    verdict: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    duration_us: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logs: Vec<LogLine>,
}

/// An event on its way through the modules.
#[derive(Debug, Clone)]
struct Item {
    id: String,
    /// What a transform made of it.
    draft: Option<wasm::Draft>,
    /// Where a route sends it.
    dispatches: Option<Vec<wasm::Dispatch>>,
}

/// Retries that never run out before the schedule does.
const AS_SCHEDULED: usize = usize::MAX;

impl Failed {
    fn of_module(failure: &Failure, module: &str) -> Self {
        let (most_retries, after) = match failure {
            Failure::Declared { retryable: true, after, .. } => (AS_SCHEDULED, *after),
            Failure::Host { .. } => (AS_SCHEDULED, None),
            // A busy machine may be to blame.
            Failure::Timeout { .. } => (1, Some(Duration::from_secs(1))),
            // A module is a function of its event: it would fail the same way again.
            Failure::Trap { .. }
            | Failure::Memory { .. }
            | Failure::Output { .. }
            | Failure::Declared { retryable: false, .. } => (0, None),
        };
        let detail = format!("module `{module}`: {failure}");
        Self { reason: failure.reason(), detail, most_retries, after }
    }

    fn missing(why: &str) -> Self {
        let detail = format!("{why}; upload or activate it, then replay");
        Self { reason: "module_missing", detail, most_retries: 0, after: None }
    }

    fn output(module: &str, what: &str) -> Self {
        let detail = format!("module `{module}`: {what}");
        Self { reason: "module_output", detail, most_retries: 0, after: None }
    }
}

impl Outcome {
    /// The flow was deleted while the event waited.
    pub fn gone() -> Self {
        let step = TraceStep {
            module: None,
            version: None,
            role: "flow",
            verdict: wasm::Verdict::Dropped.name().to_owned(),
            reason: Some("the flow was deleted before its modules ran".to_owned()),
            duration_us: 0,
            logs: Vec::new(),
        };
        Self { result: Ok(Vec::new()), steps: serde_json::to_string(&[step]).unwrap_or_default() }
    }
}

impl Planner<'_> {
    /// Runs the modules.
    pub async fn run(&self) -> Outcome {
        let mut steps = Vec::new();
        let result = self.pipeline(&mut steps).await;
        let result = result.and_then(|items| self.drafts(&items, &mut steps));
        let steps = serde_json::to_string(&steps).unwrap_or_else(|_| "[]".to_owned());
        Outcome { result, steps }
    }

    async fn pipeline<'s>(&'s self, steps: &mut Vec<TraceStep<'s>>) -> Result<Vec<Item>, Failed> {
        let first = Item { id: self.event.id.to_string(), draft: None, dispatches: None };
        let mut items = vec![first];
        for stage in &self.route.modules {
            let mut next = Vec::new();
            for item in items {
                next.extend(self.stage(stage, item, steps).await?);
            }
            items = next;
        }
        Ok(items)
    }

    async fn stage<'s>(
        &'s self,
        stage: &'s Stage,
        item: Item,
        steps: &mut Vec<TraceStep<'s>>,
    ) -> Result<Vec<Item>, Failed> {
        let name = stage.settings.name.as_str();
        let (version, module) = stage.module.as_ref().map_err(|why| Failed::missing(why))?;
        let time = self.event.time().to_string();
        let received = self.event.received_at.since(crate::domain::time::Timestamp::default());
        let draft = item.draft.as_ref();
        let input = Input {
            id: &item.id,
            source: &self.event.source,
            kind: draft.and_then(|d| d.kind.as_deref()).unwrap_or(&self.event.event_type),
            subject: draft.and_then(|d| d.subject.as_deref()).or(self.event.resource_id.as_deref()),
            time: &time,
            attempt: self.attempt.unsigned_abs(),
            attributes: draft.map(|d| d.attributes.as_slice()).unwrap_or_default(),
            data: draft.map_or(self.event.data.get(), |d| &d.data),
            received,
        };
        let run = module.run(input, &stage.config).await;
        steps.extend(run.steps.into_iter().map(|step| trace(name, *version, step)));
        match run.end {
            End::Dropped { .. } => Ok(Vec::new()),
            End::Out(routed) => Ok(routed.into_iter().map(|r| item.then(r)).collect()),
            End::Failed(failure) => Err(Failed::of_module(&failure, name)),
        }
    }

    fn drafts<'s>(
        &'s self,
        items: &[Item],
        steps: &mut Vec<TraceStep<'s>>,
    ) -> Result<Vec<Draft>, Failed> {
        let mut drafts = Vec::new();
        for item in items {
            match &item.dispatches {
                None => {
                    for target in &self.route.endpoints {
                        let plan = self.dispatch(item, None)?;
                        drafts.extend(self.draft(target, plan, steps));
                    }
                }
                Some(dispatches) => {
                    for dispatch in dispatches {
                        let target = self.destination(&dispatch.destination)?;
                        let plan = self.dispatch(item, Some(dispatch))?;
                        drafts.extend(self.draft(target, plan, steps));
                    }
                }
            }
        }
        Ok(drafts)
    }

    fn draft<'s>(
        &self,
        target: &'s Target,
        plan: Dispatch,
        steps: &mut Vec<TraceStep<'s>>,
    ) -> Option<Draft> {
        if target.endpoint.settings.enabled {
            return Some(target.draft(self.journal, self.event, plan));
        }
        steps.push(TraceStep {
            module: None,
            version: None,
            role: "endpoint",
            verdict: wasm::Verdict::Dropped.name().to_owned(),
            reason: Some(format!("endpoint `{}` is disabled", target.endpoint.settings.name)),
            duration_us: 0,
            logs: Vec::new(),
        });
        None
    }

    /// The endpoint a route names, which must be one of the flow's.
    fn destination(&self, name: &str) -> Result<&Target, Failed> {
        let found = self.route.endpoints.iter().find(|t| t.endpoint.settings.name == name);
        found.map(|target| &**target).ok_or_else(|| {
            let names: Vec<&str> =
                self.route.endpoints.iter().map(|t| t.endpoint.settings.name.as_str()).collect();
            let what = format!(
                "route chose `{name}`, which is not among the flow's endpoints: {}",
                names.join(", ")
            );
            Failed::output(self.last_module(), &what)
        })
    }

    fn last_module(&self) -> &str {
        self.route.modules.last().map_or("", |stage| &stage.settings.name)
    }

    fn dispatch(&self, item: &Item, chosen: Option<&wasm::Dispatch>) -> Result<Dispatch, Failed> {
        let data = chosen.and_then(|d| d.data.as_ref()).or(item.draft.as_ref().map(|d| &d.data));
        let message = match data {
            Some(data) => Some(Arc::new(self.message(item, chosen, data)?)),
            None => None,
        };
        let flow = self.route.flow.id;
        Ok(Dispatch {
            flow: Some(flow),
            message,
            delay: chosen.map_or(Duration::ZERO, |d| Duration::from_secs(d.delay_seconds.into())),
            dedupe_key: chosen
                .and_then(|d| d.dedupe_key.as_ref())
                .map(|key| format!("{flow} {key}")),
            ordering_key: chosen.and_then(|d| d.ordering_key.clone()),
        })
    }

    fn message(
        &self,
        item: &Item,
        chosen: Option<&wasm::Dispatch>,
        data: &str,
    ) -> Result<Message, Failed> {
        let draft = item.draft.as_ref();
        let event_type = draft.and_then(|d| d.kind.clone());
        if let Some(kind) = event_type.as_ref().filter(|kind| !is_event_type(kind)) {
            let what = format!(
                "`{kind}` is no event type: a kind is a dotted name such as `ledger.entry`"
            );
            return Err(Failed::output(self.last_module(), &what));
        }
        let data = RawValue::from_string(data.to_owned())
            .map_err(|error| Failed::output(self.last_module(), &format!("no JSON: {error}")))?;
        let mut attributes = draft.map(|d| d.attributes.clone()).unwrap_or_default();
        attributes.extend(chosen.map(|d| d.attributes.clone()).unwrap_or_default());
        Ok(Message {
            event_type,
            resource_id: draft.and_then(|d| d.subject.clone()),
            attributes,
            data,
        })
    }
}

impl Item {
    /// What a module made of it.
    fn then(&self, routed: Routed) -> Self {
        let id =
            routed.draft.as_ref().map_or_else(|| self.id.clone(), |draft| draft.id.to_string());
        Self {
            id,
            draft: routed.draft.or_else(|| self.draft.clone()),
            dispatches: routed.dispatches.or_else(|| self.dispatches.clone()),
        }
    }
}

fn trace(module: &str, version: u32, step: Step) -> TraceStep<'_> {
    TraceStep {
        module: Some(module),
        version: Some(version),
        role: step.role.name(),
        verdict: step.verdict.name().to_owned(),
        reason: step.reason,
        duration_us: step.micros,
        logs: step.logs,
    }
}
