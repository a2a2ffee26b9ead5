//! What a guest may call besides its log and its configuration.
//!
//! Every capability is linked into every module, because JavaScript and Python components import a
//! whole world. What was not granted answers the permanent failure `denied`. What a guest changes is
//! collected in [`PlanEffects`] and given back with the run; nothing is written here.
//!
//! A run without grants carries nothing ([`GuestState::capabilities`] is `None`), so it costs nothing.

use super::bindings::waybill::module::types::{Failure, Reason, Retry};
use super::bindings::waybill::module::{
    counters, deliveries, emit, http, http_types, records, secrets, state, types,
};
use super::guest_state::GuestState;
use super::outgoing::EventCalls;
use crate::error_chain::error_chain;
use crate::model::capability_grants::{CapabilityGrants, ModuleCapability};
use crate::model::id::FlowId;
use crate::model::plan_effects::PlanEffects;
use crate::signing::usable_secret::UsableSecrets;
use crate::store::{EventStore, FoundRecord, StoreError};
use crate::time::timestamp::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::{HasSelf, Linker};

/// How long a guest waits for the database. Shorter than a call may take, so that a slow database is
/// told from a slow module.
const LOOK_UP: Duration = Duration::from_millis(500);

/// What one run may call, and what it did so far.
pub struct CapabilityRun {
    /// What is granted.
    pub grants: Arc<CapabilityGrants>,
    /// Where state and records are read; a trial outside of a server has none.
    pub store: Option<EventStore>,
    /// The flow that runs the module; `None` in a trial outside of any.
    pub flow: Option<FlowId>,
    /// The module, as the flow names it.
    pub module: String,
    /// The record that the event is about.
    pub record: Option<String>,
    /// How many hops the event has behind it.
    pub hops: u32,
    /// When the planning began.
    pub now: Timestamp,
    /// What the flow's modules did with the event so far.
    pub effects: PlanEffects,
    /// The secrets that are granted and that there are.
    pub secrets: Arc<UsableSecrets>,
    /// Requests of the flow's modules on this event; a trial outside of a flow has none.
    pub calls: Option<Arc<EventCalls>>,
    /// What was looked up in this run.
    pub looked_up: BTreeMap<String, Vec<FoundRecord>>,
    /// How many bytes of records it may still read.
    pub record_bytes_left: usize,
}

#[cfg(test)]
impl CapabilityRun {
    /// Makes a run outside of any flow, with these grants.
    pub fn of_grants(grants: CapabilityGrants) -> Self {
        Self {
            grants: Arc::new(grants),
            store: None,
            flow: None,
            module: "m".to_owned(),
            record: None,
            hops: 0,
            now: Timestamp::default(),
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
    type Own = HasSelf<GuestState>;
    types::add_to_linker::<GuestState, Own>(linker, |state| state)?;
    http_types::add_to_linker::<GuestState, Own>(linker, |state| state)?;
    state::add_to_linker::<GuestState, Own>(linker, |state| state)?;
    records::add_to_linker::<GuestState, Own>(linker, |state| state)?;
    http::add_to_linker::<GuestState, Own>(linker, |state| state)?;
    secrets::add_to_linker::<GuestState, Own>(linker, |state| state)?;
    emit::add_to_linker::<GuestState, Own>(linker, |state| state)?;
    deliveries::add_to_linker::<GuestState, Own>(linker, |state| state)?;
    counters::add_to_linker::<GuestState, Own>(linker, |state| state)
}

impl types::Host for GuestState {}
impl http_types::Host for GuestState {}

impl GuestState {
    /// The run, if this is granted.
    pub fn granted(&mut self, capability: ModuleCapability) -> Result<&mut CapabilityRun, Failure> {
        match &mut self.capabilities {
            Some(run) if run.grants.allows(capability) => Ok(run),
            Some(_) | None => Err(permanent("denied", capability.denial())),
        }
    }
}

/// A failure that the same event meets every time. The code is one of those that the interface
/// package lists.
pub fn permanent(code: &str, message: String) -> Failure {
    Failure::Permanent(Reason { code: code.to_owned(), message, pointer: None })
}

/// A failure that may pass.
pub fn retryable(code: &str, message: String) -> Failure {
    let reason = Reason { code: code.to_owned(), message, pointer: None };
    Failure::Retryable(Retry { reason, after_seconds: None })
}

/// What the database answers, in time.
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
