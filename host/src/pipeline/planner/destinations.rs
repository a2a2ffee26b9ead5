//! Chooses the endpoints to which the events that leave a flow's modules go.

use super::outcome::{ChosenDelivery, ModulesFailed, SKIPPED, TraceStep};
use super::pipeline_item::PipelineItem;
use super::{FlowPlanner, RunCourse};
use crate::channels::module_channel::MODULE;
use crate::model::endpoint::DeliveryMode;
use crate::model::event::DeliveryMessage;
use crate::model::id::EndpointId;
use crate::pipeline::bounds;
use crate::settings::endpoint_runtime::{EndpointDispatch, EndpointRuntime};
use crate::settings::matching::NOTICE_REFUSAL;
use crate::wasm;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

impl<'a> FlowPlanner<'a> {
    pub(super) async fn choose_endpoints(
        &self,
        items: &[PipelineItem],
        course: &mut RunCourse<'a, '_>,
    ) -> Result<Vec<ChosenDelivery<'a>>, ModulesFailed> {
        let (mut chosen, mut judged, mut bytes) = (Vec::new(), 0, 0);
        let mut parts: HashMap<(EndpointId, String), u32> = HashMap::new();
        for item in items {
            for (target, mut plan) in self.find_dispatches(item)? {
                let collapses = target.endpoint.settings.mode == DeliveryMode::Smart;
                if collapses && let Some(record) = plan.record(self.event) {
                    let next = parts.entry((target.endpoint.id, record)).or_default();
                    plan.part = *next;
                    *next += 1;
                }
                bytes += plan.message.as_ref().map_or(0, |message| message.size());
                bounds::check_bytes(bytes)?;
                if !target.endpoint.settings.enabled {
                    course.work.note_host(course.steps, TraceStep::of_disabled(target));
                    chosen.push((target, plan));
                    continue;
                }
                if self.event.is_notice_about(target.endpoint.id) {
                    let step = TraceStep::of_endpoint(target, SKIPPED, NOTICE_REFUSAL.to_owned());
                    course.work.note_host(course.steps, step);
                    continue;
                }
                // An excluded delivery costs as much as one that is sent.
                judged += 1;
                bounds::check_deliveries(judged)?;
                match self.find_refusal(target, plan.message.as_deref()) {
                    None => chosen.push((target, plan)),
                    Some(reason) => {
                        let step = TraceStep::of_endpoint(target, SKIPPED, reason);
                        course.work.note_host(course.steps, step);
                    }
                }
            }
            self.wait_if_heavy(bytes, course).await?;
        }
        Ok(chosen)
    }

    /// Returns the endpoints to which an event goes, with its message for each.
    fn find_dispatches(
        &self,
        item: &PipelineItem,
    ) -> Result<Vec<ChosenDelivery<'a>>, ModulesFailed> {
        let whole = item.to_message(self.event, None)?.map(Arc::new);
        match &item.dispatches {
            None => {
                let dispatch =
                    |target: &'a EndpointRuntime| (target, self.make_dispatch(None, whole.clone()));
                Ok(self.route.endpoints.iter().map(|target| dispatch(target)).collect())
            }
            Some(dispatches) => dispatches
                .iter()
                .map(|chosen| {
                    let target = self.find_destination(&chosen.destination)?;
                    self.check_operation(target, chosen)?;
                    let message = if chosen.is_plain() {
                        whole.clone()
                    } else {
                        item.to_message(self.event, Some(chosen))?.map(Arc::new)
                    };
                    Ok((target, self.make_dispatch(Some(chosen), message)))
                })
                .collect(),
        }
    }

    /// Returns why the endpoint's `where` excludes the message.
    fn find_refusal(
        &self,
        target: &EndpointRuntime,
        message: Option<&DeliveryMessage>,
    ) -> Option<String> {
        target.condition.as_ref()?;
        let Some(message) = message else { return target.find_refusal(&self.event.subject()) };
        let attributes = message.merged_attributes(self.event);
        target.find_refusal(&message.subject(self.event, attributes.as_deref()))
    }

    /// Returns the endpoint that a route names. It must be one of the flow's endpoints.
    fn find_destination(&self, name: &str) -> Result<&'a EndpointRuntime, ModulesFailed> {
        let found = self.route.endpoints.iter().find(|t| t.endpoint.settings.name == name);
        found.map(|target| &**target).ok_or_else(|| {
            let names: Vec<&str> =
                self.route.endpoints.iter().map(|t| t.endpoint.settings.name.as_str()).collect();
            let what = format!(
                "route chose `{name}`, which is not among the flow's endpoints: {}",
                names.join(", ")
            );
            ModulesFailed::output(self.last_module(), &what)
        })
    }

    /// Fails if the endpoint does not have the operation that a route names.
    fn check_operation(
        &self,
        target: &EndpointRuntime,
        chosen: &wasm::ModuleDispatch,
    ) -> Result<(), ModulesFailed> {
        let Some(operation) = &chosen.operation else { return Ok(()) };
        // A channel module decides which operations it knows.
        if target.endpoint.settings.kind == MODULE {
            return Ok(());
        }
        let found = target.operations().and_then(|known| known.find_named(operation));
        found.map(drop).map_err(|why| {
            let name = &target.endpoint.settings.name;
            let what = format!("route chose the operation `{operation}` of `{name}`: {why}");
            ModulesFailed::output(self.last_module(), &what)
        })
    }

    fn last_module(&self) -> &str {
        self.route.modules.last().map_or("", |stage| &stage.settings.name)
    }

    fn make_dispatch(
        &self,
        chosen: Option<&wasm::ModuleDispatch>,
        message: Option<Arc<DeliveryMessage>>,
    ) -> EndpointDispatch {
        let flow = self.route.flow.id;
        EndpointDispatch {
            flow: Some(flow),
            message,
            delay: chosen.map_or(Duration::ZERO, |d| Duration::from_secs(d.delay_seconds.into())),
            dedupe: chosen
                .and_then(|d| d.dedupe_key.as_ref())
                .map(|key| (format!("{flow} {key}"), self.dedupe_for)),
            cancel_key: chosen.and_then(|d| d.cancel_key.clone()),
            ordering_key: chosen.and_then(|d| d.ordering_key.clone()),
            part: 0,
        }
    }
}
