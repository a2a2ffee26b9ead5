//! Runs a case of an author's folder: the events with what the server would give the module, and
//! everything that the module did.
//!
//! It differs from the sample cases of a manifest in what is granted: everything that the manifest
//! requests, with the values of the case. The server's cases run with nothing granted, because an
//! upload must not bring values that look like the operator's.

use super::capabilities::{CallPlace, CapabilityRun};
use super::case_run::{read_config, set_members, tell_end, tell_failure};
use super::case_world::{CaseStore, CaseWorld, RunStore};
use super::outgoing::call_values::{ModuleReply, ModuleRequest};
use super::outgoing::rehearsal::CallRehearsal;
use super::record_calls::MAX_RECORD_BYTES;
use super::sample_event::SampleEvent;
use super::{
    ChannelInput, ChannelStep, EventCalls, LoadedModule, ModuleFailure, ModuleRole, RunEnd,
};
use crate::model::capability_grants::{CapabilityGrants, StateScope};
use crate::model::event::record_key;
use crate::model::flow::ModuleConfig;
use crate::model::plan_effects::{EmittedFact, PlanEffects, StateAddress};
use crate::signing::usable_secret::UsableSecrets;
use crate::time::timestamp::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most requests of an attempt, as in a server without other settings.
const MOST_REQUESTS: usize = 8;

/// A case: the input of a module.
#[derive(Debug, Clone, Default)]
pub struct GoldenCase {
    /// The events, one after another. The changes of the state stay.
    pub events: Vec<Value>,
    pub config: Option<Value>,
    /// For the role `channel`: the delivery that carries each event.
    pub delivery: Option<CaseDelivery>,
    pub world: CaseWorld,
}

/// A delivery of a case.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseDelivery {
    #[serde(default = "delivery_id")]
    id: String,
    #[serde(default = "endpoint_name")]
    endpoint: String,
    #[serde(default)]
    operation: Option<String>,
    #[serde(default = "first_attempt")]
    attempt: u32,
}

fn delivery_id() -> String {
    "dlv_00000000-0000-7000-8000-000000000000".to_owned()
}

fn endpoint_name() -> String {
    "local".to_owned()
}

const fn first_attempt() -> u32 {
    1
}

impl Default for CaseDelivery {
    fn default() -> Self {
        let (id, endpoint) = (delivery_id(), endpoint_name());
        Self { id, endpoint, operation: None, attempt: first_attempt() }
    }
}

/// What all events of a case share.
struct CaseCourse<'m> {
    module: &'m LoadedModule,
    grants: Arc<CapabilityGrants>,
    config: Arc<ModuleConfig>,
    secrets: Arc<UsableSecrets>,
    rehearsal: Arc<CallRehearsal>,
    store: CaseStore,
}

impl LoadedModule {
    /// Runs the events of a case under the limits of live events. Returns one result for each, or
    /// what is wrong with the case.
    pub async fn run_golden(&self, case: &GoldenCase) -> Result<Vec<Value>, String> {
        let mut course = CaseCourse::begin(self, case)?;
        let is_flow = case.delivery.is_none() && self.report().has_flow_role();
        if case.delivery.is_some() && !self.report().has_role(ModuleRole::Channel) {
            return Err("it has a `delivery`, and the module has no role `channel`".to_owned());
        }
        let delivery = case.delivery.clone().unwrap_or_default();
        let mut results = Vec::with_capacity(case.events.len());
        for event in &case.events {
            let event = SampleEvent::read(event).ok_or("an event needs `type` and `data`")?;
            results.push(if is_flow {
                course.run_flow(&event).await
            } else {
                course.run_channel(&event, &delivery).await
            });
        }
        Ok(results)
    }
}

impl<'m> CaseCourse<'m> {
    fn begin(module: &'m LoadedModule, case: &GoldenCase) -> Result<Self, String> {
        let manifest = module.report().manifest.as_ref();
        let schema = manifest.and_then(|manifest| manifest.config.as_ref());
        let grants = manifest.map(|manifest| manifest.capabilities.clone()).unwrap_or_default();
        let is_of_record =
            grants.state.as_ref().is_some_and(|state| state.scope == StateScope::Record);
        let first = case.events.first().and_then(SampleEvent::read);
        let scope = first.filter(|_| is_of_record).and_then(|event| event_record(&event));
        Ok(Self {
            module,
            grants: Arc::new(grants),
            config: Arc::new(read_config(schema, case.config.as_ref())?),
            secrets: Arc::new(case.world.make_secrets()?),
            rehearsal: Arc::new(CallRehearsal::new(case.world.answers.clone())),
            store: case.world.make_store(&scope.unwrap_or_default()),
        })
    }

    fn capabilities(&self, place: CallPlace, event: &SampleEvent) -> Box<CapabilityRun> {
        let input = event.input(&[]);
        let name = self.module.report().manifest.as_ref().map(|manifest| manifest.name.clone());
        let calls = EventCalls::rehearsed(Arc::clone(&self.rehearsal));
        Box::new(CapabilityRun {
            place,
            grants: Arc::clone(&self.grants),
            store: Some(RunStore::Case(Arc::new(self.store.clone()))),
            flow: None,
            module: name.unwrap_or_default(),
            record: event_record(event),
            hops: 0,
            now: Timestamp::default().after(input.received),
            ids_from: input.received,
            effects: PlanEffects::default(),
            secrets: Arc::clone(&self.secrets),
            calls: Some(Arc::new(calls)),
            looked_up: BTreeMap::new(),
            record_bytes_left: MAX_RECORD_BYTES,
        })
    }

    async fn run_flow(&mut self, event: &SampleEvent) -> Value {
        let attributes = event.attribute_pairs();
        let capabilities = self.capabilities(CallPlace::Flow, event);
        let input = event.input(&attributes);
        let run = self.module.run_granted(input, &self.config, Some(capabilities)).await;
        let end = match &run.end {
            RunEnd::Failed(failure) => tell_own_failure(failure),
            RunEnd::Out(_) | RunEnd::Dropped { .. } => tell_end(&run.end),
        };
        let has_failed = end.get("end").is_some_and(|end| end == "failed");
        let roles = run.steps.iter().map(|step| {
            let (role, verdict) = (step.role.name(), step.verdict.name());
            // The end repeats the reason of a failure.
            let reason = step.reason.as_ref().filter(|_| !has_failed);
            set_members([
                ("role", json!(role)),
                ("verdict", json!(verdict)),
                ("reason", json!(reason)),
            ])
        });
        let mut told = Map::from_iter([("roles".to_owned(), roles.collect())]);
        told.extend(end.as_object().cloned().unwrap_or_default());
        self.tell_requests(&mut told);
        // A failed run changes nothing, because its plan is not committed.
        if let Some(did) = run.capabilities.filter(|_| !has_failed) {
            self.store.keep_changes(&did.effects);
            told.extend(tell_effects(&did.effects));
        }
        Value::Object(told)
    }

    async fn run_channel(&self, event: &SampleEvent, delivery: &CaseDelivery) -> Value {
        let mut facts = Vec::new();
        let ended = self.attempt_delivery(event, delivery, &mut facts).await;
        let mut told = match ended {
            Ok(name) => Map::from_iter([
                ("end".to_owned(), json!("delivered")),
                ("receiver_id".to_owned(), json!(name)),
            ]),
            Err(failure) => {
                facts.clear();
                tell_own_failure(&failure).as_object().cloned().unwrap_or_default()
            }
        };
        self.tell_requests(&mut told);
        told.extend(tell_effects(&PlanEffects { facts, ..PlanEffects::default() }));
        Value::Object(told)
    }

    /// Makes one attempt. Returns the receiver's name for what it made.
    async fn attempt_delivery(
        &self,
        event: &SampleEvent,
        delivery: &CaseDelivery,
        facts: &mut Vec<EmittedFact>,
    ) -> Result<Option<String>, ModuleFailure> {
        let attributes = event.attribute_pairs();
        let mut input = event.input(&attributes);
        input.attempt = delivery.attempt;
        let input = ChannelInput {
            delivery: &delivery.id,
            endpoint: &delivery.endpoint,
            operation: delivery.operation.as_deref(),
            event: input,
            answers: None,
        };
        let calls = EventCalls::rehearsed(Arc::clone(&self.rehearsal));
        let mut answers: Vec<ModuleReply> = Vec::new();
        loop {
            let is_first = answers.is_empty();
            let place = if is_first { CallPlace::Render } else { CallPlace::Classify };
            let mut capabilities = self.capabilities(place, event);
            capabilities.effects.facts = std::mem::take(facts);
            let given = (!is_first).then_some(answers.as_slice());
            let input = ChannelInput { answers: given, ..input };
            let moment = input.moment();
            let run = self.module.call_alone(&input, moment, &self.config, capabilities).await;
            *facts = run.capabilities.map(|did| did.effects.facts).unwrap_or_default();
            match run.end? {
                ChannelStep::Delivered(name) => return Ok(name),
                ChannelStep::Send(_) if answers.len() >= MOST_REQUESTS => {
                    let message = format!("more than {MOST_REQUESTS} requests in one attempt");
                    return Err(ModuleFailure::Output { message });
                }
                ChannelStep::Send(request) => {
                    answers.push(self.answer_request(&calls, request).await?);
                }
            }
        }
    }

    async fn answer_request(
        &self,
        calls: &EventCalls,
        request: ModuleRequest,
    ) -> Result<ModuleReply, ModuleFailure> {
        let refused = match calls.answer(&self.grants, &self.secrets, request).await {
            Ok(reply) => return Ok(reply),
            Err(refused) => refused,
        };
        let (code, message) = (refused.code.to_owned(), refused.message);
        let (retryable, after, pointer) = (refused.may_pass, None, None);
        Err(ModuleFailure::Declared { retryable, after, code, message, pointer })
    }

    fn tell_requests(&self, told: &mut Map<String, Value>) {
        let made = self.rehearsal.take_made();
        if !made.is_empty() {
            told.insert("requests".to_owned(), Value::Array(made));
        }
    }
}

/// Describes a failure, and whether the event would be tried again.
fn tell_own_failure(failure: &ModuleFailure) -> Value {
    let mut told = tell_failure(failure);
    let ModuleFailure::Declared { retryable: true, after, .. } = failure else { return told };
    if let Some(members) = told.as_object_mut() {
        members.insert("retryable".to_owned(), Value::Bool(true));
        let after = after.map(|after| ("after_seconds".to_owned(), json!(after.as_secs())));
        members.extend(after);
    }
    told
}

fn event_record(event: &SampleEvent) -> Option<String> {
    record_key(&event.source, event.resource.as_deref(), event.subject.as_deref())
}

/// Describes the changes that a module made besides its drafts and dispatches.
fn tell_effects(effects: &PlanEffects) -> Map<String, Value> {
    let emitted: Vec<Value> = effects.facts.iter().map(tell_fact).collect();
    let counters: Map<String, Value> =
        effects.counts.iter().map(|((_, name), count)| (name.clone(), json!(count))).collect();
    let state = effects.state.iter().filter(|(_, cell)| cell.is_changed());
    let state: Map<String, Value> = state
        .map(|(StateAddress { key, .. }, cell)| {
            let value = cell.now.as_ref().and_then(|value| serde_json::from_str(&value.text).ok());
            (key.clone(), value.unwrap_or_default())
        })
        .collect();
    let mut told = Map::new();
    for (name, value, is_empty) in [
        ("emitted", json!(emitted), emitted.is_empty()),
        ("cancelled", json!(effects.cancelled), effects.cancelled.is_empty()),
        ("counters", json!(counters), counters.is_empty()),
        ("state", json!(state), state.is_empty()),
    ] {
        if !is_empty {
            told.insert(name.to_owned(), value);
        }
    }
    told
}

/// Describes an emitted event, without its id, which changes with every build of the module.
fn tell_fact(EmittedFact { fact, .. }: &EmittedFact) -> Value {
    let parse = |text: &String| serde_json::from_str::<Value>(text).unwrap_or_default();
    let attributes: Map<String, Value> =
        fact.attributes.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    set_members([
        ("type", json!(fact.kind)),
        ("resource", json!(fact.resource)),
        ("resource_id", json!(fact.subject)),
        ("occurred_at", json!(fact.time)),
        ("key", json!(fact.key)),
        ("changes", fact.changes.as_ref().map(parse).unwrap_or_default()),
        ("attributes", if attributes.is_empty() { Value::Null } else { json!(attributes) }),
        ("data", parse(&fact.data)),
    ])
}
