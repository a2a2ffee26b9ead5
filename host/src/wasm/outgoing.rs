//! Makes the requests of modules, and records their answers for a module that runs again.
//!
//! A request goes only to a host that the module is granted, and uses HTTPS unless the operator
//! allows that host plain HTTP. It is sent by the client that also sends deliveries. That client
//! checks addresses when it connects, and follows no redirect. A secret is filled in here, and goes
//! only to its own hosts. The n-th answer of an event is stored with a digest of its request before
//! the module sees it.

pub mod attempt_calls;
pub mod call_values;
pub mod checked_request;
pub mod rehearsal;

use crate::error_chain::error_chain;
use crate::model::capability_grants::CapabilityGrants;
use crate::model::id::{EventId, FlowId};
use crate::model::redactor::SecretRedactor;
use crate::net::error_class::ErrorClass;
use crate::net::http_client::{ClientRequest, DeliveryClient, SendError};
use crate::signing::usable_secret::UsableSecrets;
use crate::store::EventStore;
use crate::store::module_answers::ModuleAnswer;
use call_values::{ModuleReply, ModuleRequest, RequestRefusal};
use checked_request::CheckedRequest;
use rehearsal::CallRehearsal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Most requests that a flow's modules may make for one event.
const MOST_CALLS: u32 = 8;
/// Most bytes of an answer's body.
const LONGEST_BODY: usize = 1 << 20;
/// Most bytes of all answers for one event.
const MOST_BYTES: usize = 4 << 20;
/// Longest time of one request.
const CALL_TIME: Duration = Duration::from_secs(5);
/// Longest time of all requests of a flow's modules for one event. The lease of a planning lasts
/// longer.
pub const EVENT_TIME: Duration = Duration::from_secs(8);

/// Makes the requests of modules.
#[derive(Debug, Clone)]
pub struct ModuleClient {
    client: DeliveryClient,
    /// Hosts for which the operator allows plain HTTP.
    plain_http: Arc<[String]>,
}

impl ModuleClient {
    pub fn new(client: DeliveryClient, plain_http: &[String]) -> Self {
        Self { client, plain_http: plain_http.into() }
    }
}

/// The requests that the modules of one flow make for one event.
#[derive(Debug)]
pub struct EventCalls {
    /// Makes the requests. Without a client, only recorded answers are given.
    client: Option<ModuleClient>,
    /// Gives the answers of a case, in the place of a client and a recording.
    rehearsal: Option<Arc<CallRehearsal>>,
    store: Option<EventStore>,
    event: EventId,
    flow: FlowId,
    course: Mutex<CallCourse>,
    /// Whether a request found no recorded answer and was not made.
    lacks_answer: AtomicBool,
}

/// What the requests of one event have used up.
#[derive(Debug)]
struct CallCourse {
    /// The recorded answers. `None` until the first request reads them.
    recorded: Option<Vec<ModuleAnswer>>,
    /// The position of the next request.
    next: u32,
    time_left: Duration,
    bytes_left: usize,
}

impl EventCalls {
    /// Creates requests that are made and recorded if the recording does not hold their answers.
    pub fn making(client: ModuleClient, store: EventStore, event: EventId, flow: FlowId) -> Self {
        Self { client: Some(client), ..Self::recorded(Some(store), event, flow) }
    }

    /// Creates requests that get recorded answers only, as dry runs need them.
    pub fn recorded(store: Option<EventStore>, event: EventId, flow: FlowId) -> Self {
        let course =
            CallCourse { recorded: None, next: 0, time_left: EVENT_TIME, bytes_left: MOST_BYTES };
        let (course, lacks_answer) = (Mutex::new(course), AtomicBool::new(false));
        Self { client: None, rehearsal: None, store, event, flow, course, lacks_answer }
    }

    /// Creates requests that get the answers of a case.
    pub fn rehearsed(rehearsal: Arc<CallRehearsal>) -> Self {
        let (event, flow) = (EventId::generate(), FlowId::generate());
        Self { rehearsal: Some(rehearsal), ..Self::recorded(None, event, flow) }
    }

    /// Returns whether a request found no recorded answer and was not made.
    pub fn lacks_answer(&self) -> bool {
        self.lacks_answer.load(Ordering::Relaxed)
    }

    /// Returns the recorded answer to a request. If there is none, makes the request and records
    /// its answer.
    pub async fn answer(
        &self,
        grants: &CapabilityGrants,
        secrets: &UsableSecrets,
        request: ModuleRequest,
    ) -> Result<ModuleReply, RequestRefusal> {
        let plain = self.client.as_ref().map(|client| Arc::clone(&client.plain_http));
        let checked = CheckedRequest::new(&request, grants, plain.as_deref())?;
        let digest = checked.digest(&request);
        let mut course = self.course.lock().await;
        let position = course.next;
        course.next += 1;
        if position >= MOST_CALLS {
            let message = format!("more than {MOST_CALLS} requests for one event");
            return Err(RequestRefusal::permanent("limit", message));
        }
        if let Some(rehearsal) = &self.rehearsal {
            checked.complete(&request, grants, secrets)?;
            return rehearsal.answer(&request);
        }
        if let Some(reply) = self.find_recorded(&mut course, position, &digest).await? {
            return Ok(reply);
        }
        let Some(client) = &self.client else {
            self.lacks_answer.store(true, Ordering::Relaxed);
            return Err(RequestRefusal::permanent(
                "not_recorded",
                "a dry run makes no requests, and no answer to this one is recorded with the event",
            ));
        };
        let (request, redactor) = checked.complete(&request, grants, secrets)?;
        let reply = client.call(request, &redactor, &mut course).await?;
        self.record(position, digest, &reply).await?;
        Ok(reply)
    }

    async fn find_recorded(
        &self,
        course: &mut CallCourse,
        position: u32,
        digest: &str,
    ) -> Result<Option<ModuleReply>, RequestRefusal> {
        if course.recorded.is_none() {
            course.recorded = Some(match &self.store {
                Some(store) => {
                    let read = store.list_module_answers(self.event, self.flow).await;
                    read.map_err(|error| unavailable(&error))?
                }
                None => Vec::new(),
            });
        }
        let recorded = course.recorded.iter().flatten();
        let mut recorded = recorded.filter(|answer| answer.position == position);
        let found = recorded.find(|answer| answer.request == digest);
        found.map(|found| serde_json::from_str(&found.answer)).transpose().map_err(|error| {
            RequestRefusal::permanent(
                "unavailable",
                format!("the recorded answer is damaged: {error}"),
            )
        })
    }

    /// Stores an answer before the module sees it, so that a later run sees the same one.
    async fn record(
        &self,
        position: u32,
        request: String,
        reply: &ModuleReply,
    ) -> Result<(), RequestRefusal> {
        let Some(store) = &self.store else { return Ok(()) };
        let answer = serde_json::to_string(reply)
            .map_err(|error| RequestRefusal::permanent("invalid", error.to_string()))?;
        let answer = ModuleAnswer { position, request, answer };
        match store.add_module_answer(self.event, self.flow, &answer).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(RequestRefusal::passing(
                "unavailable",
                "the event no longer waits for this flow",
            )),
            Err(error) => Err(unavailable(&error)),
        }
    }
}

fn unavailable(error: &dyn std::error::Error) -> RequestRefusal {
    tracing::warn!(error = %error_chain(error), "answers to a module's requests cannot be recorded");
    RequestRefusal::passing("unavailable", "the host's database cannot be used")
}

impl ModuleClient {
    async fn call(
        &self,
        request: ClientRequest,
        redactor: &SecretRedactor,
        course: &mut CallCourse,
    ) -> Result<ModuleReply, RequestRefusal> {
        let time = CALL_TIME.min(course.time_left);
        let most = LONGEST_BODY.min(course.bytes_left);
        if time.is_zero() || most == 0 {
            let message = format!(
                "all requests for one event may take {} s and return {MOST_BYTES} bytes",
                EVENT_TIME.as_secs()
            );
            return Err(RequestRefusal::permanent("limit", message));
        }
        let began = Instant::now();
        let reply = self.client.ask_whole(request, time, most).await;
        course.time_left = course.time_left.saturating_sub(began.elapsed());
        let reply = reply.map_err(|error| refuse_call(&error))?;
        if reply.truncated && reply.body.len() >= most {
            let message = format!("the answer is longer than {most} bytes");
            return Err(RequestRefusal::permanent("limit", message));
        }
        if reply.truncated {
            return Err(RequestRefusal::passing("unreachable", "the answer broke off"));
        }
        course.bytes_left = course.bytes_left.saturating_sub(reply.body.len());
        Ok(ModuleReply::of(&redactor.mask_reply(reply)))
    }
}

/// Returns the refusal for a request without an answer. Its message names no address, because an
/// address may hold a secret.
fn refuse_call(error: &SendError) -> RequestRefusal {
    match error.class {
        ErrorClass::Timeout => RequestRefusal::passing("timeout", "no answer came in time"),
        ErrorClass::AddressForbidden => RequestRefusal::permanent(
            "denied",
            "requests may not go to the addresses of this host (see `delivery.allow_networks`)",
        ),
        ErrorClass::Connect
        | ErrorClass::ConnectionLost
        | ErrorClass::Dns
        | ErrorClass::Tls
        | ErrorClass::Redirect
        | ErrorClass::ClientError
        | ErrorClass::ServerError
        | ErrorClass::Auth
        | ErrorClass::Template
        | ErrorClass::Protocol
        | ErrorClass::Deferred
        | ErrorClass::Rejected
        | ErrorClass::ModuleTrap
        | ErrorClass::ModuleTimeout
        | ErrorClass::ModuleMemory
        | ErrorClass::ModuleOutput
        | ErrorClass::ModuleFailure
        | ErrorClass::ModuleRequest => {
            RequestRefusal::passing("unreachable", format!("no answer: {}", error.class.as_str()))
        }
    }
}

#[cfg(test)]
mod tests;
