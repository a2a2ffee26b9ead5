//! Calls the role `channel` of a module: `render` and `classify`.
//!
//! Each call has an instance of its own, so that no slot of the pool is held while a receiver
//! answers, and nothing of one delivery reaches the next.

use super::bindings::exports::waybill::module::channel::{Delivery, Outcome};
use super::bindings::waybill::module::http_types::ResponseParam;
use super::bindings::waybill::module::types::BodyParam;
use super::capabilities::CapabilityRun;
use super::guest_log::clip;
use super::guest_state::{GuestContext, GuestRandomness, GuestState};
use super::module::{BoundModule, LoadedModule};
use super::network_calls::read_request;
use super::outgoing::call_values::{ModuleBody, ModuleReply, ModuleRequest};
use super::run::{CallEnd, explain, guest_event, in_time, start_instance};
use super::{LogLine, ModuleFailure, ModuleInput, check};
use crate::json::storable::make_storable;
use crate::model::event::MAX_KEY;
use crate::model::flow::ModuleConfig;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::Store;
use wasmtime::component::Instance;

/// A delivery that a module makes.
#[derive(Debug, Clone, Copy)]
pub struct ChannelInput<'a> {
    /// The id of the delivery. Random numbers and the ids of emitted events are derived from it.
    pub delivery: &'a str,
    /// The name of the endpoint.
    pub endpoint: &'a str,
    /// The operation that a dispatch named.
    pub operation: Option<&'a str>,
    /// The event. `attempt` is the number of the attempt, and `received` the time at which it began.
    pub event: ModuleInput<'a>,
}

/// What a module wants next.
#[derive(Debug)]
pub enum ChannelStep {
    /// To make this request.
    Send(ModuleRequest),
    /// Nothing, because the receiver has the delivery under this name.
    Delivered(Option<String>),
}

/// The result of one call.
#[derive(Debug)]
pub struct ChannelRun {
    pub end: Result<ChannelStep, ModuleFailure>,
    /// The log lines of the call.
    pub lines: Vec<LogLine>,
    pub took: Duration,
    /// The linear memory of the instance at the end, in bytes.
    pub memory: usize,
    /// The module's grants and what it did with them.
    pub capabilities: Option<Box<CapabilityRun>>,
}

impl ChannelRun {
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
    /// Asks the module for the first request of an attempt, or with `answers` for what they mean.
    /// Waits for a free slot.
    pub async fn call_channel(
        &self,
        input: &ChannelInput<'_>,
        answers: Option<&[ModuleReply]>,
        config: &Arc<ModuleConfig>,
        capabilities: Box<CapabilityRun>,
    ) -> ChannelRun {
        let bound = &*self.0;
        let randomness = GuestRandomness {
            secret: bound.engine.randomness.clone(),
            module: bound.sha256,
            event: input.delivery.to_owned(),
        };
        let received = input.event.received;
        let guest = GuestContext { randomness, received, config: Arc::clone(config) };
        // The module's own turn comes first: while it waits for its other runs, it must not hold a
        // slot. Both semaphores are never closed.
        let places = async {
            let turn = bound.turns.acquire().await.ok();
            (turn, bound.engine.slots.acquire().await.ok())
        };
        let Ok((turn, slot)) = tokio::time::timeout(input.event.patience, places).await else {
            return ChannelRun::failed(ModuleFailure::no_room());
        };
        let began = Instant::now();
        let run = match start_instance(bound, guest, Some(capabilities)).await {
            Ok((mut store, instance)) => {
                let end = call_role(bound, &mut store, &instance, input, answers).await;
                let state = store.data_mut();
                let lines = state.take_log(&bound.limits);
                let (capabilities, memory) = (state.capabilities.take(), state.usage.memory());
                ChannelRun { end, lines, took: began.elapsed(), memory, capabilities }
            }
            Err(failure) => ChannelRun::failed(failure),
        };
        drop((slot, turn));
        run
    }
}

async fn call_role(
    bound: &BoundModule,
    store: &mut Store<GuestState>,
    instance: &Instance,
    input: &ChannelInput<'_>,
    answers: Option<&[ModuleReply]>,
) -> Result<ChannelStep, ModuleFailure> {
    let Some(indices) = &bound.channel else {
        let message = "it does not have the role `channel`".to_owned();
        return Err(ModuleFailure::Host { message });
    };
    store.data_mut().rearm(&bound.limits);
    let delivery = wire_delivery(input);
    let Some(answers) = answers else {
        let call = async {
            let guest = indices.load(&mut *store, instance)?;
            guest.call_render(&mut *store, delivery).await
        };
        let answer = in_time(&bound.limits, call).await;
        let request = judge_answer(bound, store, answer)?;
        return Ok(ChannelStep::Send(read_request(request)));
    };
    let headers: Vec<Vec<(&str, &str)>> = answers.iter().map(header_pairs).collect();
    let answers: Vec<ResponseParam<'_>> =
        answers.iter().zip(&headers).map(|(reply, headers)| wire_answer(reply, headers)).collect();
    let call = async {
        let guest = indices.load(&mut *store, instance)?;
        guest.call_classify(&mut *store, delivery, &answers).await
    };
    let answer = in_time(&bound.limits, call).await;
    match judge_answer(bound, store, answer)? {
        Outcome::Delivered(name) => Ok(ChannelStep::Delivered(name.as_deref().and_then(kept_name))),
        Outcome::Next(request) => Ok(ChannelStep::Send(read_request(request))),
    }
}

fn judge_answer<T>(
    bound: &BoundModule,
    store: &mut Store<GuestState>,
    answer: Result<Result<T, super::bindings::waybill::module::types::Failure>, CallEnd>,
) -> Result<T, ModuleFailure> {
    match answer {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(declared)) => Err(check::declared(declared, &bound.limits)),
        Err(ended) => Err(explain(ended, store.data_mut(), &bound.limits)),
    }
}

/// Returns the receiver's name for what it made, cut at [`MAX_KEY`] bytes. An empty one is none.
fn kept_name(name: &str) -> Option<String> {
    let name = make_storable(clip(name, MAX_KEY).to_owned());
    (!name.is_empty()).then_some(name)
}

fn wire_delivery<'a>(input: &ChannelInput<'a>) -> Delivery<'a> {
    Delivery {
        id: input.delivery,
        endpoint: input.endpoint,
        operation: input.operation,
        attempt: input.event.attempt,
        event: guest_event(&input.event),
    }
}

fn header_pairs(reply: &ModuleReply) -> Vec<(&str, &str)> {
    reply.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn wire_answer<'a>(reply: &'a ModuleReply, headers: &'a [(&'a str, &'a str)]) -> ResponseParam<'a> {
    let body = match &reply.body {
        ModuleBody::Json(text) => BodyParam::Json(text),
        ModuleBody::Text(text) => BodyParam::Text(text),
        ModuleBody::Bytes(bytes) => BodyParam::Bytes(bytes),
    };
    ResponseParam { status: reply.status, headers, body }
}
