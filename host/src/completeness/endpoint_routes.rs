//! The ways on which events reach an endpoint, by the present settings.

use crate::crm::tables::is_second_name;
use crate::model::event::Event;
use crate::model::id::FlowId;
use crate::model::source::SourceKind;
use crate::model::type_pattern::TypePattern;
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::settings::matching::NOTICE_REFUSAL;
use crate::settings::{FlowRuntime, SettingsSnapshot};
use crate::time::timestamp::Timestamp;
use std::sync::Arc;

/// The ways on which events of one source and type reach one endpoint. Whether the endpoint itself
/// is enabled does not matter.
#[derive(Debug, Clone, Default)]
pub struct EndpointRoutes {
    /// Whether the endpoint's own `events` take them.
    pub is_own: bool,
    /// Enabled flows without modules.
    pub plain_flows: Vec<Arc<FlowRuntime>>,
    /// Enabled flows whose modules decide.
    pub module_flows: Vec<Arc<FlowRuntime>>,
}

impl EndpointRoutes {
    /// Returns the routes of events from a source and of a type.
    pub fn find(
        settings: &SettingsSnapshot,
        target: &EndpointRuntime,
        source: &str,
        event_type: &str,
    ) -> Self {
        // A second name of an event goes only to those that ask for it by name.
        let reads_database = settings
            .find_source(source)
            .is_some_and(|source| source.settings.kind == SourceKind::Database);
        let by_name = reads_database && is_second_name(event_type);
        let wanted = |pattern: &TypePattern| match pattern {
            TypePattern::Exact(name) => name == event_type,
            TypePattern::Any | TypePattern::Prefix(_) => !by_name && pattern.matches(event_type),
        };
        let mut routes =
            Self { is_own: target.endpoint.settings.events.iter().any(wanted), ..Self::default() };
        for flow in settings.flows().iter().filter(|flow| leads_to(flow, target)) {
            if flow.flow.settings.wants(source, wanted) {
                let has_modules = !flow.modules.is_empty();
                let list =
                    if has_modules { &mut routes.module_flows } else { &mut routes.plain_flows };
                list.push(Arc::clone(flow));
            }
        }
        routes
    }

    pub fn is_empty(&self) -> bool {
        !self.is_direct() && self.module_flows.is_empty()
    }

    /// Whether an event reaches the endpoint as captured, without a module.
    pub fn is_direct(&self) -> bool {
        self.is_own || !self.plain_flows.is_empty()
    }

    /// Returns the flow with an id, if it is one of the routes.
    pub fn find_flow(&self, id: FlowId) -> Option<&Arc<FlowRuntime>> {
        self.flows().find(|flow| flow.flow.id == id)
    }

    fn flows(&self) -> impl Iterator<Item = &Arc<FlowRuntime>> {
        self.plain_flows.iter().chain(&self.module_flows)
    }

    /// Returns since when one of the routes has had its present settings.
    pub fn set_since(&self, target: &EndpointRuntime) -> Option<Timestamp> {
        let endpoint = &target.endpoint;
        let own = self.is_own.then_some(endpoint.updated_at);
        let flows = self.flows().map(|flow| flow.flow.updated_at.max(endpoint.created_at));
        own.into_iter().chain(flows).min()
    }

    /// Whether a `where` decides about events on one of the routes.
    pub fn has_condition(&self, target: &EndpointRuntime) -> bool {
        target.condition.is_some() || self.flows().any(|flow| flow.condition.is_some())
    }

    /// Returns the routes on which the present conditions let an event pass, and the reason of the
    /// first one that does not.
    pub fn admit(&self, target: &EndpointRuntime, event: &Event) -> (Self, Option<String>) {
        let subject = event.subject();
        let own_refusal = if event.is_notice_about(target.endpoint.id) {
            Some(NOTICE_REFUSAL.to_owned())
        } else {
            target.find_refusal(&subject)
        };
        let mut refusal = None;
        let mut passes = |flow: &&Arc<FlowRuntime>| {
            let reason = flow.find_refusal(&subject);
            let passes = reason.is_none();
            refusal = refusal.take().or(reason);
            passes
        };
        let plain_flows: Vec<_> = self.plain_flows.iter().filter(&mut passes).cloned().collect();
        let module_flows = self.module_flows.iter().filter(&mut passes).cloned().collect();
        // The endpoint judges what modules made of the event, which is not known here.
        let is_refused = own_refusal.is_some();
        let admitted = Self {
            is_own: self.is_own && !is_refused,
            plain_flows: if is_refused { Vec::new() } else { plain_flows },
            module_flows,
        };
        (admitted, own_refusal.or(refusal))
    }
}

fn leads_to(flow: &FlowRuntime, target: &EndpointRuntime) -> bool {
    flow.flow.settings.enabled
        && flow.endpoints.iter().any(|other| other.endpoint.id == target.endpoint.id)
}

/// Whether a flow leads to this endpoint and to no other.
pub fn leads_only_to(flow: &FlowRuntime, target: &EndpointRuntime) -> bool {
    flow.endpoints.iter().all(|other| other.endpoint.id == target.endpoint.id)
}
