//! Requests of modules: what is checked before one is made, and the recording that a module that
//! runs again reads instead.
//!
//! A request goes to a host that the module is granted, by HTTPS unless the operator lets that host
//! do without, through the client that deliveries go through: it checks addresses when it connects
//! and follows no redirect. Secrets are put in here and go to their own hosts alone. The n-th answer
//! of an event is stored with a digest of its request before the module sees it.

pub mod call_values;
pub mod checked_request;

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
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Most requests of a flow's modules on one event.
const MOST_CALLS: u32 = 8;
/// The longest body of an answer, in bytes.
const LONGEST_BODY: usize = 1 << 20;
/// Most bytes of all answers on one event.
const MOST_BYTES: usize = 4 << 20;
/// How long one request may take.
const CALL_TIME: Duration = Duration::from_secs(5);
/// How long all requests of a flow's modules on one event may take. A planning is leased for longer.
pub const EVENT_TIME: Duration = Duration::from_secs(8);

/// What makes requests for modules.
#[derive(Debug, Clone)]
pub struct ModuleClient {
    client: DeliveryClient,
    /// Hosts that need no TLS.
    plain_http: Arc<[String]>,
}

impl ModuleClient {
    pub fn new(client: DeliveryClient, plain_http: &[String]) -> Self {
        Self { client, plain_http: plain_http.into() }
    }
}

/// The requests that the modules of one flow make on one event.
#[derive(Debug)]
pub struct EventCalls {
    /// Makes requests; without it only what was recorded is answered.
    client: Option<ModuleClient>,
    store: Option<EventStore>,
    event: EventId,
    flow: FlowId,
    course: Mutex<CallCourse>,
}

/// How far they are.
#[derive(Debug)]
struct CallCourse {
    recorded: Option<Vec<ModuleAnswer>>,
    next: u32,
    time_left: Duration,
    bytes_left: usize,
}

impl EventCalls {
    /// Requests that are made where they are not recorded, and recorded then.
    pub fn making(client: ModuleClient, store: EventStore, event: EventId, flow: FlowId) -> Self {
        Self { client: Some(client), ..Self::recorded(Some(store), event, flow) }
    }

    /// Requests that are answered by what was recorded alone, as in dry runs.
    pub fn recorded(store: Option<EventStore>, event: EventId, flow: FlowId) -> Self {
        let course =
            CallCourse { recorded: None, next: 0, time_left: EVENT_TIME, bytes_left: MOST_BYTES };
        Self { client: None, store, event, flow, course: Mutex::new(course) }
    }

    /// The answer to a request: the recorded one, or one that is recorded now.
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
            let message = format!("more than {MOST_CALLS} requests on one event");
            return Err(RequestRefusal::permanent("limit", message));
        }
        if let Some(reply) = self.find_recorded(&mut course, position, &digest).await? {
            return Ok(reply);
        }
        let Some(client) = &self.client else {
            return Err(RequestRefusal::permanent(
                "not_recorded",
                "a dry run makes no requests, and the event has no recorded answer to this one",
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

    /// Stores an answer. A module never sees one that it could not see again.
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
            let message = format!("requests on one event take at most {} s", EVENT_TIME.as_secs());
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

/// The message names no address: that may hold a secret.
fn refuse_call(error: &SendError) -> RequestRefusal {
    match error.class {
        ErrorClass::Timeout => RequestRefusal::passing("timeout", "no answer came in time"),
        ErrorClass::AddressForbidden => RequestRefusal::permanent(
            "denied",
            "the host's addresses are none that requests may go to (see `delivery.allow_networks`)",
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
        | ErrorClass::Rejected => {
            RequestRefusal::passing("unreachable", format!("no answer: {}", error.class.as_str()))
        }
    }
}

#[cfg(test)]
mod tests;
