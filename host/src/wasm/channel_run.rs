//! Calls the role `channel` of a module: `render` and `classify`.

use super::bindings::exports::waybill::module::channel::{Delivery, Outcome};
use super::bindings::waybill::module::http_types::ResponseParam;
use super::guest_log::clip;
use super::guest_state::GuestState;
use super::lone_call::{LoneMoment, LoneRole, header_pairs, judge_answer, lacks_role, wire_answer};
use super::module::BoundModule;
use super::network_calls::read_request;
use super::outgoing::call_values::{ModuleReply, ModuleRequest};
use super::run::{guest_event, in_time};
use super::{ModuleFailure, ModuleInput, ModuleRole};
use crate::json::storable::make_storable;
use crate::model::event::MAX_KEY;
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
    /// The answers of the attempt so far. Without any, the first request is asked for.
    pub answers: Option<&'a [ModuleReply]>,
}

/// What a module wants next.
#[derive(Debug)]
pub enum ChannelStep {
    /// To make this request.
    Send(ModuleRequest),
    /// Nothing, because the receiver has the delivery under this name.
    Delivered(Option<String>),
}

impl ChannelInput<'_> {
    /// Returns the circumstances of the call.
    pub fn moment(&self) -> LoneMoment {
        let (seed, shown) = (self.delivery.to_owned(), self.event.received);
        LoneMoment { seed, shown, patience: self.event.patience }
    }
}

impl LoneRole for ChannelInput<'_> {
    const ROLE: ModuleRole = ModuleRole::Channel;
    type Answer = ChannelStep;

    async fn call_role(
        &self,
        bound: &BoundModule,
        store: &mut Store<GuestState>,
        instance: &Instance,
    ) -> Result<ChannelStep, ModuleFailure> {
        let indices = bound.channel.as_ref().ok_or_else(|| lacks_role(Self::ROLE))?;
        let delivery = wire_delivery(self);
        let Some(answers) = self.answers else {
            let call = async {
                let guest = indices.load(&mut *store, instance)?;
                guest.call_render(&mut *store, delivery).await
            };
            let answer = in_time(&bound.limits, call).await;
            let request = judge_answer(bound, store, answer)?;
            return Ok(ChannelStep::Send(read_request(request)));
        };
        let headers: Vec<Vec<(&str, &str)>> =
            answers.iter().map(|reply| header_pairs(&reply.headers)).collect();
        let answers: Vec<ResponseParam<'_>> = answers
            .iter()
            .zip(&headers)
            .map(|(reply, headers)| wire_answer(reply, headers))
            .collect();
        let call = async {
            let guest = indices.load(&mut *store, instance)?;
            guest.call_classify(&mut *store, delivery, &answers).await
        };
        let answer = in_time(&bound.limits, call).await;
        match judge_answer(bound, store, answer)? {
            Outcome::Delivered(name) => {
                Ok(ChannelStep::Delivered(name.as_deref().and_then(kept_name)))
            }
            Outcome::Next(request) => Ok(ChannelStep::Send(read_request(request))),
        }
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
