//! One attempt at a delivery by a module: `render`, the request, `classify`, and so on until the
//! module knows what came of it.

use super::ModuleReceiver;
use super::shown_calls::ShownCalls;
use crate::channels::{ChannelCall, ChannelOutcome, ChannelReply};
use crate::metrics::module_figures::CallOutcome;
use crate::model::attributes::OPERATION;
use crate::model::envelope::EnvelopeMessage;
use crate::model::event::attribute_texts;
use crate::model::id::DeliveryId;
use crate::model::plan_effects::{EmittedFact, PlanEffects};
use crate::net::error_class::ErrorClass;
use crate::net::http_client::MAX_REPLY_BODY;
use crate::net::retry_after::retry_after;
use crate::time::timestamp::Timestamp;
use crate::wasm::outgoing::attempt_calls::{AnsweredCall, AttemptCalls, FailedCall};
use crate::wasm::outgoing::call_values::{ModuleReply, ModuleRequest};
use crate::wasm::record_calls::MAX_RECORD_BYTES;
use crate::wasm::{
    self, CallPlace, CapabilityRun, ChannelInput, ChannelStep, InputChanges, ModuleFailure,
    ModuleInput, ModuleRole, PATIENCE,
};
use futures_util::future::BoxFuture;
use http::StatusCode;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// An attempt in progress.
pub struct ModuleAttempt<'a> {
    receiver: &'a ModuleReceiver,
    call: DeliveryPart<'a>,
    started: Instant,
    calls: AttemptCalls<'a>,
    /// The answers so far, as the module sees them.
    answers: Vec<ModuleReply>,
    /// The last answer as it came.
    last: Option<AnsweredCall>,
    /// The events that the module emitted so far.
    facts: Vec<EmittedFact>,
    shown: ShownCalls,
}

/// The parts of a call that an attempt reads.
struct DeliveryPart<'a> {
    message: EnvelopeMessage<'a>,
    attempt: u32,
    at: Timestamp,
    signed_at: Timestamp,
    timeout: Duration,
    attributes: Vec<(String, String)>,
    changed: Vec<String>,
}

/// Why an attempt failed.
struct AttemptFault {
    outcome: ChannelOutcome,
    detail: String,
}

impl<'a> ModuleAttempt<'a> {
    /// Makes one attempt. Returns `None` if the delivery was withdrawn before its first request.
    pub async fn make_attempt(
        receiver: &'a ModuleReceiver,
        call: ChannelCall<'a>,
    ) -> Option<ChannelReply> {
        let ChannelCall {
            client, message, number, at, signed_at, timeout, permit, withdrawn, ..
        } = call;
        let bound = &receiver.bound;
        let granted = (&*bound.grants, &*bound.secrets);
        let answers = (receiver.most_answer, bound.module.answer_room());
        let sha256 = &bound.module.report().sha256;
        let attempt = Self {
            receiver,
            call: DeliveryPart {
                attempt: number.unsigned_abs(),
                attributes: read_attributes(message.extensions),
                changed: read_names(message.changed),
                message,
                at,
                signed_at,
                timeout,
            },
            started: Instant::now(),
            calls: AttemptCalls::new(client, granted, &bound.plain_http, answers)
                .with_permit(permit),
            answers: Vec::new(),
            last: None,
            facts: Vec::new(),
            shown: ShownCalls::of_module(&bound.name, bound.version, sha256),
        };
        attempt.run(withdrawn).await
    }

    async fn run(mut self, mut withdrawn: BoxFuture<'a, ()>) -> Option<ChannelReply> {
        let mut step = tokio::select! {
            biased;
            () = &mut withdrawn => return None,
            step = self.ask_module() => step,
        };
        loop {
            match step {
                Ok(ChannelStep::Send(request)) => {
                    let until = std::mem::replace(&mut withdrawn, Box::pin(pending()));
                    step = match self.send_request(&request, until).await? {
                        Ok(()) => self.ask_module().await,
                        Err(fault) => Err(fault),
                    };
                }
                Ok(ChannelStep::Delivered(id)) => return Some(self.end_delivered(id)),
                Err(fault) => return Some(self.end_failed(fault)),
            }
        }
    }

    fn time_left(&self) -> Duration {
        self.call.timeout.saturating_sub(self.started.elapsed())
    }

    fn late(&self) -> AttemptFault {
        let limit = self.call.timeout.as_millis();
        AttemptFault {
            outcome: ChannelOutcome::Again { class: ErrorClass::Timeout, after: None },
            detail: format!("the requests and the module took longer than {limit} ms"),
        }
    }

    /// Makes a request. Returns `None` if the delivery was withdrawn.
    async fn send_request(
        &mut self,
        request: &ModuleRequest,
        withdrawn: BoxFuture<'_, ()>,
    ) -> Option<Result<(), AttemptFault>> {
        let most = self.receiver.most_requests;
        if self.answers.len() >= most {
            let detail = format!("the module wanted more than {most} requests in one attempt");
            return Some(Err(AttemptFault::dead(ErrorClass::ModuleRequest, detail)));
        }
        let left = self.time_left();
        if left.is_zero() {
            return Some(Err(self.late()));
        }
        match self.calls.make_call(request, left, withdrawn).await? {
            Ok(answered) => {
                self.shown.note_call(&answered);
                self.answers.push(answered.module_reply());
                self.last = Some(answered);
                Some(Ok(()))
            }
            Err(failed) => {
                let FailedCall { place, class, detail, is_final } = failed;
                if let Some(place) = place {
                    self.shown.note_place(&place);
                }
                self.last = None;
                Some(Err(AttemptFault::of_call(class, detail, is_final)))
            }
        }
    }

    /// Asks the module what to do next.
    async fn ask_module(&mut self) -> Result<ChannelStep, AttemptFault> {
        let left = self.time_left();
        if left.is_zero() {
            return Err(self.late());
        }
        let receiver = self.receiver;
        let bound = &receiver.bound;
        let facts = std::mem::take(&mut self.facts);
        let answers = (!self.answers.is_empty()).then_some(self.answers.as_slice());
        let place = if answers.is_some() { CallPlace::Classify } else { CallPlace::Render };
        let capabilities = self.capabilities(place, facts);
        let own: Vec<(&str, &str)> = pairs(&self.call.attributes);
        let attributes = wasm::merged(&own, self.call.message.attributes);
        let changed: Vec<&str> = self.call.changed.iter().map(String::as_str).collect();
        let event = self.event_input((&attributes, &changed), left.min(PATIENCE));
        let operation = attributes.iter().find(|(name, _)| *name == OPERATION);
        let input = ChannelInput {
            delivery: self.call.message.delivery_id,
            endpoint: &receiver.endpoint,
            operation: operation.map(|(_, value)| *value),
            event,
            answers,
        };
        let module = &bound.module;
        let run = module.call_alone(&input, input.moment(), &bound.config, capabilities).await;
        let outcome = if run.end.is_ok() { CallOutcome::Passed } else { CallOutcome::Failed };
        bound.figures.note_call(outcome, run.took, self.call.at);
        if let Some(figures) = &bound.version_figures {
            let code = run.end.as_ref().map_or_else(ModuleFailure::reason, |_| outcome.name());
            figures.note_call(code, run.took);
            figures.note_role(ModuleRole::Channel.name(), run.took);
            figures.note_memory(run.memory);
        }
        self.shown.note_lines(&run.lines);
        self.facts = run.capabilities.map(|did| did.effects.facts).unwrap_or_default();
        run.end.map_err(|failure| self.judge_failure(failure))
    }

    /// Returns the event as the module sees it.
    fn event_input<'i>(
        &'i self,
        (attributes, fields): (&'i [(&'i str, &'i str)], &'i [&'i str]),
        patience: Duration,
    ) -> ModuleInput<'i> {
        let message = &self.call.message;
        let changes = message.previous.map(|previous| InputChanges { changed: fields, previous });
        ModuleInput {
            id: message.event_id,
            flow: "",
            source: message.source,
            kind: message.event_type,
            resource: message.resource,
            subject: message.resource_id,
            time: message.timestamp,
            attempt: self.call.attempt,
            changes: changes.filter(|_| message.changed.is_some()),
            attributes,
            data: message.data,
            // The time of the attempt, because signatures of requests carry it.
            received: self.call.signed_at.since(Timestamp::default()),
            patience,
            may_reuse: false,
        }
    }

    fn capabilities(&self, place: CallPlace, facts: Vec<EmittedFact>) -> Box<CapabilityRun> {
        let bound = &self.receiver.bound;
        let message = &self.call.message;
        let made = message.delivery_id.parse().map(DeliveryId::created_at);
        Box::new(CapabilityRun {
            place,
            grants: Arc::clone(&bound.grants),
            store: None,
            flow: None,
            module: bound.name.clone(),
            record: None,
            // The message counts this delivery already.
            hops: message.hops.unwrap_or_default().saturating_sub(1),
            now: self.call.at,
            ids_from: made.unwrap_or(self.call.at).since(Timestamp::default()),
            effects: PlanEffects { facts, ..PlanEffects::default() },
            secrets: Arc::clone(&bound.secrets),
            calls: None,
            looked_up: BTreeMap::new(),
            record_bytes_left: MAX_RECORD_BYTES,
        })
    }

    fn judge_failure(&self, failure: ModuleFailure) -> AttemptFault {
        let detail = failure.to_string();
        match failure {
            ModuleFailure::Trap { .. } => AttemptFault::dead(ErrorClass::ModuleTrap, detail),
            ModuleFailure::Memory { .. } => AttemptFault::dead(ErrorClass::ModuleMemory, detail),
            ModuleFailure::Output { .. } => AttemptFault::dead(ErrorClass::ModuleOutput, detail),
            // The machine may have been busy.
            ModuleFailure::Timeout { .. } => {
                AttemptFault::of_call(ErrorClass::ModuleTimeout, detail, false)
            }
            ModuleFailure::Host { .. } => {
                AttemptFault::of_call(ErrorClass::ModuleFailure, detail, false)
            }
            ModuleFailure::Declared { retryable, after, code, message, .. } => {
                let detail = format!("{code}: {message}");
                if retryable {
                    AttemptFault { outcome: self.judge_refusal(after), detail }
                } else {
                    AttemptFault::dead(ErrorClass::Rejected, detail)
                }
            }
        }
    }

    /// Judges an answer after which the module wants another attempt. A receiver that asks for time
    /// holds back the whole endpoint, as for every kind.
    fn judge_refusal(&self, after: Option<Duration>) -> ChannelOutcome {
        let now = self.call.at.after(self.started.elapsed());
        let reply = self.last.as_ref().map(|last| &last.reply);
        let asked = after.or_else(|| retry_after(&reply?.headers, now));
        let class = ErrorClass::Deferred;
        match reply.map(|reply| reply.status) {
            Some(StatusCode::TOO_MANY_REQUESTS) => ChannelOutcome::HeldBack { class, asked },
            Some(StatusCode::SERVICE_UNAVAILABLE) if asked.is_some() => {
                ChannelOutcome::HeldBack { class, asked }
            }
            Some(_) | None => ChannelOutcome::Again { class, after: asked },
        }
    }

    fn end_delivered(self, receiver_id: Option<String>) -> ChannelReply {
        let duration = self.started.elapsed();
        let (emitted, last) = (self.facts, self.last);
        let made = ChannelReply { receiver_id, emitted, ..ChannelReply::delivered(duration) };
        show_answer(made, self.shown, last)
    }

    fn end_failed(self, fault: AttemptFault) -> ChannelReply {
        let AttemptFault { outcome, detail } = fault;
        let made = ChannelReply::failed(outcome, detail, self.started.elapsed());
        show_answer(made, self.shown, self.last)
    }
}

impl AttemptFault {
    const fn dead(class: ErrorClass, detail: String) -> Self {
        Self { outcome: ChannelOutcome::Dead { class }, detail }
    }

    fn of_call(class: ErrorClass, detail: String, is_final: bool) -> Self {
        if is_final {
            Self::dead(class, detail)
        } else {
            Self { outcome: ChannelOutcome::Again { class, after: None }, detail }
        }
    }
}

/// Adds the requests and the last answer to a reply.
fn show_answer(made: ChannelReply, shown: ShownCalls, last: Option<AnsweredCall>) -> ChannelReply {
    let made = ChannelReply { request: shown.into_request(), ..made };
    let Some(AnsweredCall { reply, .. }) = last else { return made };
    ChannelReply {
        status: Some(reply.status.as_u16()),
        headers: Some(reply.headers),
        truncated: reply.body.len() > MAX_REPLY_BODY,
        answer: Some(reply.body),
        ..made
    }
}

fn pairs(texts: &[(String, String)]) -> Vec<(&str, &str)> {
    texts.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// Reads the attributes of an event. They were valid when it was captured.
fn read_attributes(object: Option<&str>) -> Vec<(String, String)> {
    let object = object.and_then(|text| serde_json::from_str::<&RawValue>(text).ok());
    object.map(attribute_texts).unwrap_or_default()
}

/// Reads the names of the changed fields.
fn read_names(list: Option<&str>) -> Vec<String> {
    list.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}
