//! Calls of the roles that flows do not call: `channel`, `source` and `puller`.
//!
//! Each call has an instance of its own, so that no slot of the pool is held while another system
//! answers, and nothing of one call reaches the next.

use super::bindings::waybill::module::http_types::ResponseParam;
use super::bindings::waybill::module::types::{BodyParam, Failure};
use super::capabilities::CapabilityRun;
use super::guest_state::{GuestContext, GuestRandomness, GuestState};
use super::module::{BoundModule, LoadedModule};
use super::outgoing::call_values::{ModuleBody, ModuleReply};
use super::run::{CallEnd, explain, start_instance};
use super::{LogLine, ModuleFailure, ModuleRole, check};
use crate::model::flow::ModuleConfig;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::Store;
use wasmtime::component::Instance;

/// A call of one role.
pub trait LoneRole: Send + Sync {
    const ROLE: ModuleRole;
    /// The result of the call, checked.
    type Answer: Send;

    /// Calls the role in an instance.
    fn call_role(
        &self,
        bound: &BoundModule,
        store: &mut Store<GuestState>,
        instance: &Instance,
    ) -> impl Future<Output = Result<Self::Answer, ModuleFailure>> + Send;
}

/// The circumstances of a call.
#[derive(Debug, Clone)]
pub struct LoneMoment {
    /// The text from which random numbers are derived.
    pub seed: String,
    /// The time that the clocks of the module show, since 1970.
    pub shown: Duration,
    /// Longest wait for other runs.
    pub patience: Duration,
}

/// The result of a call.
#[derive(Debug)]
pub struct LoneRun<T> {
    pub end: Result<T, ModuleFailure>,
    /// The log lines of the call.
    pub lines: Vec<LogLine>,
    pub took: Duration,
    /// The linear memory of the instance at the end, in bytes.
    pub memory: usize,
    /// The module's grants and what it did with them.
    pub capabilities: Option<Box<CapabilityRun>>,
}

impl<T> LoneRun<T> {
    const fn failed(failure: ModuleFailure) -> Self {
        Self {
            end: Err(failure),
            lines: Vec::new(),
            took: Duration::ZERO,
            memory: 0,
            capabilities: None,
        }
    }
}

impl LoadedModule {
    /// Calls a role in an instance of its own. Waits for a free slot.
    pub async fn call_alone<R: LoneRole>(
        &self,
        role: &R,
        moment: LoneMoment,
        config: &Arc<ModuleConfig>,
        capabilities: Box<CapabilityRun>,
    ) -> LoneRun<R::Answer> {
        let bound = &*self.0;
        let LoneMoment { seed, shown, patience } = moment;
        let randomness = GuestRandomness {
            secret: bound.engine.randomness.clone(),
            module: bound.sha256,
            event: seed,
        };
        let guest = GuestContext { randomness, received: shown, config: Arc::clone(config) };
        // The module's own turn comes first: while it waits for its other runs, it must not hold a
        // slot. Both semaphores are never closed.
        let places = async {
            let turn = bound.turns.acquire().await.ok();
            (turn, bound.engine.slots.acquire().await.ok())
        };
        let Ok((turn, slot)) = tokio::time::timeout(patience, places).await else {
            return LoneRun::failed(ModuleFailure::no_room());
        };
        let began = Instant::now();
        let run = match start_instance(bound, guest, Some(capabilities)).await {
            Ok((mut store, instance)) => {
                store.data_mut().rearm(&bound.limits);
                let end = role.call_role(bound, &mut store, &instance).await;
                let state = store.data_mut();
                let lines = state.take_log(&bound.limits);
                let (capabilities, memory) = (state.capabilities.take(), state.usage.memory());
                LoneRun { end, lines, took: began.elapsed(), memory, capabilities }
            }
            Err(failure) => LoneRun::failed(failure),
        };
        drop((slot, turn));
        run
    }
}

/// Returns the failure of a module that was called for a role that it does not have.
pub fn lacks_role(role: ModuleRole) -> ModuleFailure {
    ModuleFailure::Host { message: format!("it does not have the role `{role}`") }
}

/// Returns the value of a call, or why there is none.
pub fn judge_answer<T>(
    bound: &BoundModule,
    store: &mut Store<GuestState>,
    answer: Result<Result<T, Failure>, CallEnd>,
) -> Result<T, ModuleFailure> {
    match answer {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(declared)) => Err(check::declared(declared, &bound.limits)),
        Err(ended) => Err(explain(ended, store.data_mut(), &bound.limits)),
    }
}

/// Returns the headers of an answer as guests see them.
pub fn header_pairs(headers: &[(String, String)]) -> Vec<(&str, &str)> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// Returns a body as guests see it.
pub fn wire_body(body: &ModuleBody) -> BodyParam<'_> {
    match body {
        ModuleBody::Json(text) => BodyParam::Json(text),
        ModuleBody::Text(text) => BodyParam::Text(text),
        ModuleBody::Bytes(bytes) => BodyParam::Bytes(bytes),
    }
}

/// Returns an answer as guests see it.
pub fn wire_answer<'a>(
    reply: &'a ModuleReply,
    headers: &'a [(&'a str, &'a str)],
) -> ResponseParam<'a> {
    ResponseParam { status: reply.status, headers, body: wire_body(&reply.body) }
}
