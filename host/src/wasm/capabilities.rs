//! The functions that a guest may call beside its log and its configuration.
//!
//! Every capability is linked into every module, because JavaScript and Python components import a
//! whole world. A capability that was not granted answers the permanent failure `denied`. The
//! changes that a guest makes are collected in [`PlanEffects`] and returned with the run; nothing
//! is written to the database here.
//!
//! In a run without grants [`GuestState::capabilities`] is `None`, so it costs nothing.

use super::bindings::waybill::module::types::{Failure, Reason, Retry};
use super::bindings::waybill::module::{
    counters, deliveries, emit, http, http_types, records, secrets, state, types,
};
use super::case_world::RunStore;
use super::guest_state::GuestState;
use super::outgoing::EventCalls;
use crate::error_chain::error_chain;
use crate::model::capability_grants::{CapabilityGrants, ModuleCapability};
use crate::model::id::FlowId;
use crate::model::plan_effects::PlanEffects;
use crate::signing::usable_secret::UsableSecrets;
use crate::store::{FoundRecord, StoreError};
use crate::time::timestamp::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::{HasSelf, Linker};

/// Longest wait of a guest for the database. It is shorter than a call may take, so that a slow
/// database is not mistaken for a slow module.
const LOOK_UP: Duration = Duration::from_millis(500);

/// The place in which a module is called. It decides which of the granted capabilities make sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallPlace {
    /// On an event of a flow.
    Flow,
    /// For the first request of a delivery.
    Render,
    /// For the answers to the requests of a delivery.
    Classify,
    /// For a request to a source.
    Decode,
    /// For the pages of an API.
    Pull,
}

impl CallPlace {
    /// Returns whether a granted capability can be called here. Outside of flows the host makes the
    /// requests itself, and there is no plan with which state could be committed. The events of a
    /// source are what it returns.
    const fn permits(self, capability: ModuleCapability) -> bool {
        match (self, capability) {
            (Self::Flow, _)
            | (_, ModuleCapability::Secrets)
            | (Self::Classify, ModuleCapability::Emit) => true,
            (
                Self::Render | Self::Classify | Self::Decode | Self::Pull,
                ModuleCapability::State
                | ModuleCapability::Records
                | ModuleCapability::Http
                | ModuleCapability::Deliveries
                | ModuleCapability::Counters,
            )
            | (Self::Render | Self::Decode | Self::Pull, ModuleCapability::Emit) => false,
        }
    }

    fn refusal(self, capability: ModuleCapability) -> String {
        let function = match self {
            Self::Flow => "a flow",
            Self::Render => "`render` of the role `channel`",
            Self::Classify => "`classify` of the role `channel`",
            Self::Decode => "the role `source`",
            Self::Pull => "the role `puller`",
        };
        format!("`{}` cannot be called in {function}", capability.name())
    }
}

/// The grants of one run, and what the run has done so far.
pub struct CapabilityRun {
    pub place: CallPlace,
    pub grants: Arc<CapabilityGrants>,
    /// The store of state and records. `None` in a trial outside of a server.
    pub store: Option<RunStore>,
    /// The flow that runs the module. `None` in a trial outside of any flow.
    pub flow: Option<FlowId>,
    /// The name of the module in the flow.
    pub module: String,
    /// The key of the record that the event is about.
    pub record: Option<String>,
    /// The number of hops between the first event and this one.
    pub hops: u32,
    /// When the planning or the attempt began.
    pub now: Timestamp,
    /// The time with which the ids of emitted events begin, since 1970: that of the event's capture,
    /// or in a channel that of the delivery.
    pub ids_from: Duration,
    /// The changes that the flow's modules have made for the event so far.
    pub effects: PlanEffects,
    /// The granted secrets, as far as they exist.
    pub secrets: Arc<UsableSecrets>,
    /// The requests of the flow's modules for this event. `None` in a trial outside of any flow.
    pub calls: Option<Arc<EventCalls>>,
    /// The records that this run has looked up, by look-up.
    pub looked_up: BTreeMap<String, Vec<FoundRecord>>,
    /// The number of bytes of records that this run may still read.
    pub record_bytes_left: usize,
}

#[cfg(test)]
impl CapabilityRun {
    /// Makes a run outside of any flow, with these grants.
    pub fn of_grants(grants: CapabilityGrants) -> Self {
        Self {
            place: CallPlace::Flow,
            grants: Arc::new(grants),
            store: None,
            flow: None,
            module: "m".to_owned(),
            record: None,
            hops: 0,
            now: Timestamp::default(),
            ids_from: Duration::ZERO,
            effects: PlanEffects::default(),
            secrets: Arc::default(),
            calls: None,
            looked_up: BTreeMap::new(),
            record_bytes_left: super::record_calls::MAX_RECORD_BYTES,
        }
    }
}

impl std::fmt::Debug for CapabilityRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CapabilityRun").field("module", &self.module).finish_non_exhaustive()
    }
}

/// Links every capability.
pub fn link_capabilities(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    type OwnState = HasSelf<GuestState>;
    types::add_to_linker::<GuestState, OwnState>(linker, |state| state)?;
    http_types::add_to_linker::<GuestState, OwnState>(linker, |state| state)?;
    state::add_to_linker::<GuestState, OwnState>(linker, |state| state)?;
    records::add_to_linker::<GuestState, OwnState>(linker, |state| state)?;
    http::add_to_linker::<GuestState, OwnState>(linker, |state| state)?;
    secrets::add_to_linker::<GuestState, OwnState>(linker, |state| state)?;
    emit::add_to_linker::<GuestState, OwnState>(linker, |state| state)?;
    deliveries::add_to_linker::<GuestState, OwnState>(linker, |state| state)?;
    counters::add_to_linker::<GuestState, OwnState>(linker, |state| state)
}

impl types::Host for GuestState {}
impl http_types::Host for GuestState {}

impl GuestState {
    /// Returns the run if the capability is granted.
    pub fn granted(&mut self, capability: ModuleCapability) -> Result<&mut CapabilityRun, Failure> {
        match &mut self.capabilities {
            Some(run) if !run.place.permits(capability) => {
                Err(permanent("denied", run.place.refusal(capability)))
            }
            Some(run) if run.grants.allows(capability) => Ok(run),
            Some(_) | None => Err(permanent("denied", capability.denial())),
        }
    }
}

/// Creates a failure that the same event meets every time. The interface package lists the codes.
pub fn permanent(code: &str, message: String) -> Failure {
    Failure::Permanent(Reason { code: code.to_owned(), message, pointer: None })
}

/// Creates a failure that may not occur again when the event is retried.
pub fn retryable(code: &str, message: String) -> Failure {
    let reason = Reason { code: code.to_owned(), message, pointer: None };
    Failure::Retryable(Retry { reason, after_seconds: None })
}

/// Waits for the database, at most [`LOOK_UP`].
pub async fn look_up<T>(
    asked: impl Future<Output = Result<T, StoreError>> + Send,
) -> Result<T, Failure> {
    match tokio::time::timeout(LOOK_UP, asked).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => {
            tracing::warn!(error = %error_chain(&error), "a module's look-up failed");
            Err(retryable("unavailable", "the host's database cannot be read".to_owned()))
        }
        Err(_late) => {
            let message =
                format!("the host's database took longer than {} ms", LOOK_UP.as_millis());
            Err(retryable("unavailable", message))
        }
    }
}
