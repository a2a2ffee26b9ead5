//! An event on its way through a flow's modules.

use super::outcome::ModulesFailed;
use crate::model::attributes::OPERATION;
use crate::model::event::{DeliveryMessage, Event};
use crate::model::id::EventId;
use crate::wasm::{self, ModuleRun, RoutedEvent, RunEnd};
use serde_json::value::RawValue;

/// An event on its way through the modules.
#[derive(Debug, Clone)]
pub(super) struct PipelineItem {
    /// Id of the event or of a draft.
    pub(super) id: EventId,
    /// The event type, if a transform set it.
    pub(super) kind: Option<String>,
    /// The record id, if a transform set it.
    pub(super) subject: Option<String>,
    /// Attributes that transforms set.
    pub(super) attributes: Vec<(String, String)>,
    /// The payload, if a transform made one.
    pub(super) data: Option<String>,
    /// The endpoints that a route chose.
    pub(super) dispatches: Option<Vec<wasm::ModuleDispatch>>,
}

pub(super) fn attribute_pairs(attributes: &[(String, String)]) -> Vec<(&str, &str)> {
    attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

impl PipelineItem {
    /// Starts with the event as it was captured.
    pub(super) fn of_event(event: &Event) -> Self {
        Self {
            id: event.id,
            kind: None,
            subject: None,
            attributes: Vec::new(),
            data: None,
            dispatches: None,
        }
    }

    /// Returns its id if it is a draft of the event.
    pub(super) fn draft_of(&self, event: &Event) -> Option<EventId> {
        (self.id != event.id).then_some(self.id)
    }

    /// Returns what a module made of it.
    pub(super) fn apply_run(
        &self,
        run: ModuleRun,
        module: &str,
    ) -> Result<Vec<Self>, ModulesFailed> {
        match run.end {
            RunEnd::Dropped { .. } => Ok(Vec::new()),
            RunEnd::Out(routed) => {
                Ok(routed.into_iter().map(|one| self.apply_output(one)).collect())
            }
            RunEnd::Failed(failure) => {
                Err(ModulesFailed::of_module(&failure, module).or_in_fresh_instance(run.is_reused))
            }
        }
    }

    /// Applies the output of a module. Its changes override earlier ones.
    fn apply_output(&self, routed: RoutedEvent) -> Self {
        let dispatches = routed.dispatches.or_else(|| self.dispatches.clone());
        let Some(draft) = routed.draft else { return Self { dispatches, ..self.clone() } };
        let before = attribute_pairs(&self.attributes);
        let attributes = wasm::merged(&before, &draft.attributes);
        Self {
            id: draft.id,
            kind: draft.kind.or_else(|| self.kind.clone()),
            subject: draft.subject.or_else(|| self.subject.clone()),
            attributes: attributes
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            data: Some(draft.data),
            dispatches,
        }
    }

    /// Returns its size in bytes.
    pub(super) fn size(&self) -> usize {
        let dispatches = self.dispatches.iter().flatten().map(wasm::ModuleDispatch::size);
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + value.len());
        self.data.as_ref().map_or(0, String::len)
            + attributes.sum::<usize>()
            + dispatches.sum::<usize>()
    }

    /// Returns the message of a delivery. `None` if the event is sent as it was captured.
    pub(super) fn to_message(
        &self,
        event: &Event,
        chosen: Option<&wasm::ModuleDispatch>,
    ) -> Result<Option<DeliveryMessage>, ModulesFailed> {
        let own = chosen.map(|d| d.attributes.as_slice()).unwrap_or_default();
        let before = attribute_pairs(&self.attributes);
        let mut attributes = wasm::merged(&before, own);
        let operation = chosen.and_then(|dispatch| dispatch.operation.as_deref());
        attributes.extend(operation.map(|operation| (OPERATION, operation)));
        let data = chosen.and_then(|d| d.data.as_ref()).or(self.data.as_ref());
        if data.is_none() && attributes.is_empty() {
            return Ok(None);
        }
        let raw = |data: &String| RawValue::from_string(data.clone());
        let data = data.map(raw).transpose();
        let id = chosen.and_then(|d| d.id).unwrap_or(self.id);
        Ok(Some(DeliveryMessage {
            event_id: (id != event.id).then_some(id),
            event_type: self.kind.clone(),
            resource_id: self.subject.clone(),
            attributes: attributes
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            data: data
                .map_err(|error| ModulesFailed::output("", &format!("invalid JSON: {error}")))?,
        }))
    }
}
