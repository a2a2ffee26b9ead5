//! The health of endpoints, flows and sources for answers. Data that was read for one answer serves
//! others for a second, so a client that lists often does not cost more.

use super::AppState;
use super::auth::CallPrincipal;
use crate::health::endpoint_health::{
    EndpointHealth, MOST_DELIVERIES, SPAN, load_endpoint_healths,
};
use crate::health::flow_health::{FlowHealth, load_flow_healths};
use crate::health::health_view::HealthView;
use crate::model::alert::SubjectKind;
use crate::model::id::{EndpointId, FlowId, SourceId};
use crate::model::subject_health::HealthMemory;
use crate::store::{EventStore, StoreError};
use crate::time::timestamp::Timestamp;
use http::Method;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Time for which data, or the failure to read it, is reused.
const FRESH: Duration = Duration::from_secs(1);
/// Time that an answer waits for health.
const PATIENCE: Duration = Duration::from_secs(1);

/// All health that was read at one time.
#[derive(Debug)]
pub struct HealthAnswers {
    at: Timestamp,
    endpoints: HashMap<EndpointId, EndpointHealth>,
    flows: HashMap<FlowId, FlowHealth>,
    memories: HashMap<(SubjectKind, String), HealthMemory>,
}

/// The last health and its time. `None` inside if the database could not be read.
#[derive(Debug, Default)]
pub struct HealthCache(Mutex<Option<(Timestamp, Option<Arc<HealthAnswers>>)>>);

impl HealthAnswers {
    async fn load(journal: &EventStore, now: Timestamp) -> Result<Self, StoreError> {
        let rows = journal.list_recent_deliveries(now.before(SPAN), MOST_DELIVERIES).await?;
        let kept = journal.list_health().await?;
        Ok(Self {
            at: now,
            endpoints: load_endpoint_healths(journal, now, &rows, &kept).await?,
            flows: load_flow_healths(journal, now).await?,
            memories: kept
                .into_iter()
                .map(|kept| ((kept.kind, kept.subject), kept.memory))
                .collect(),
        })
    }

    fn memory(&self, kind: SubjectKind, id: String) -> Option<&HealthMemory> {
        self.memories.get(&(kind, id))
    }

    pub fn endpoint(&self, id: EndpointId) -> HealthView {
        let health = self.endpoints.get(&id).cloned().unwrap_or_default();
        HealthView::of_endpoint(&health, self.at)
    }

    pub fn flow(&self, id: FlowId) -> HealthView {
        let health = self.flows.get(&id).cloned().unwrap_or_default();
        HealthView::of_flow(&health, self.memory(SubjectKind::Flow, id.to_string()))
    }

    /// Returns the stored state of a source.
    pub fn source_memory(&self, id: SourceId) -> Option<&HealthMemory> {
        self.memory(SubjectKind::Source, id.to_string())
    }
}

/// Returns the health of all objects, if the caller may read deliveries. Without a readable
/// database answers omit the health, because settings are in memory.
pub async fn find_healths(app: &AppState, principal: &CallPrincipal) -> Option<Arc<HealthAnswers>> {
    if !principal.may_call(&Method::GET, "/api/v1/deliveries") {
        return None;
    }
    let now = app.journal.clock().now();
    let mut known = app.healths.0.lock().await;
    if let Some((at, fresh)) = known.as_ref()
        && app.journal.clock().now().since(*at) < FRESH
    {
        return fresh.clone();
    }
    let reading = timeout(PATIENCE, HealthAnswers::load(&app.journal, now)).await;
    let read = match reading {
        Ok(Ok(read)) => Some(Arc::new(read)),
        Ok(Err(error)) => {
            tracing::debug!(%error, "cannot read the health of objects; answers omit it");
            None
        }
        Err(_late) => None,
    };
    *known = Some((app.journal.clock().now(), read.clone()));
    read
}
