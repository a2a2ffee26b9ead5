//! Flows and endpoints that take the type of an event, and still do not get the event.

use super::id::{EndpointId, FlowId};

/// A flow or an endpoint that is disabled, or whose `where` excludes the event.
#[derive(Debug, Clone)]
pub struct SkippedRoute {
    /// The flow. `None` for an endpoint's own `events`.
    pub flow: Option<FlowId>,
    /// The endpoint. `None` if the whole flow is skipped.
    pub endpoint: Option<EndpointId>,
    /// Whether it is disabled. Otherwise a rule excludes the event.
    pub is_disabled: bool,
    /// The reason in words.
    pub reason: String,
}

impl SkippedRoute {
    /// Describes a flow whose `where` excludes the event.
    pub const fn excluded_by_flow(flow: FlowId, reason: String) -> Self {
        Self { flow: Some(flow), endpoint: None, is_disabled: false, reason }
    }

    /// Describes a disabled flow.
    pub fn disabled_flow(flow: FlowId, name: &str) -> Self {
        let reason = format!("flow `{name}` is disabled");
        Self { flow: Some(flow), endpoint: None, is_disabled: true, reason }
    }

    /// Describes a disabled endpoint.
    pub fn disabled_endpoint(flow: Option<FlowId>, endpoint: EndpointId, name: &str) -> Self {
        let reason = format!("endpoint `{name}` is disabled");
        Self { flow, endpoint: Some(endpoint), is_disabled: true, reason }
    }

    /// Returns the steps of the trace, as JSON.
    pub fn steps(&self) -> String {
        let mut step = serde_json::Map::new();
        for name in ["module", "version"] {
            step.insert(name.to_owned(), serde_json::Value::Null);
        }
        for (name, text) in [("role", "endpoint"), ("verdict", "skipped"), ("reason", &self.reason)]
        {
            step.insert(name.to_owned(), text.into());
        }
        step.insert("duration_us".to_owned(), 0.into());
        if let Some(endpoint) = self.endpoint {
            step.insert("endpoint_id".to_owned(), endpoint.to_string().into());
        }
        if self.is_disabled {
            step.insert("disabled".to_owned(), true.into());
        }
        serde_json::json!([step]).to_string()
    }
}
