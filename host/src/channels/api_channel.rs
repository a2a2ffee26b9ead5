//! The kind `api`: another system's REST API. Each delivery runs one of the endpoint's named
//! operations, which are data, and the answer becomes an event. `delivery::api_attempt` makes the
//! requests.

mod operation_preset;
mod operation_settings;
mod operations;

pub use operation_settings::OperationSettings;
pub use operations::{ApiOperation, ApiOperations};

use super::channel_kind::{ChannelCapabilities, ChannelDescription, ChannelKind, EndpointChannel};
use crate::config::ChannelsSection;
use crate::model::endpoint::EndpointSettings;
use crate::model::fault::InputFault;
use crate::net::http_url::read_http_url;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The name of the kind.
pub const API: &str = "api";
/// Most operations that an endpoint may set.
const MAX_OPERATIONS: usize = 200;

/// Endpoints of the kind `api`.
#[derive(Debug)]
pub struct ApiChannel;

/// The settings of an endpoint of kind `api`, beside its `url`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiSettings {
    /// Operations that come with Waybill: `perfexapi`, `themesic`, `data-builder`, `hubspot`,
    /// `pipedrive`, `xero` or `quickbooks`.
    #[serde(default)]
    #[schema(max_length = 64, example = "perfexapi")]
    preset: Option<String>,
    /// Operations by name. A field set here takes precedence over the same field of the preset.
    #[serde(default)]
    #[schema(inline)]
    operations: BTreeMap<String, OperationSettings>,
    /// Name of the source whose records these operations write.
    #[serde(default)]
    #[schema(max_length = 255)]
    writes_for: Option<String>,
}

impl ChannelKind for ApiChannel {
    const DESCRIPTION: ChannelDescription = ChannelDescription {
        kind: API,
        label: "REST API",
        url_schemes: &["https", "http"],
        url_hint: "the API without the paths of its operations, such as https://crm.example.com",
        delivered_when: "the API answers with a 2xx; the answer becomes an event",
        dead_when: "any 4xx except 408, 409, 425 and 429, and an event type without an operation",
        repeat_known_by: "the header Idempotency-Key, or the request in `again` of the operation",
        limits: "the first 16 KiB of an answer are kept",
        capabilities: ChannelCapabilities {
            signs: false,
            headers: true,
            envelope: false,
            batches: false,
            exactly_once: false,
        },
    };

    type Settings = ApiSettings;

    fn check(settings: &ApiSettings, _rules: &ChannelsSection) -> Vec<InputFault> {
        let known = match operation_preset::find_operations(settings.preset.as_deref()) {
            Ok(known) => known,
            Err(why) => return vec![InputFault::new("preset", why)],
        };
        if settings.operations.len() > MAX_OPERATIONS {
            let why = format!("at most {MAX_OPERATIONS} operations");
            return vec![InputFault::new("operations", why)];
        }
        if settings.preset.is_none() && settings.operations.is_empty() {
            return vec![InputFault::new(
                "operations",
                "set at least one operation, or a `preset`",
            )];
        }
        let mut faults = Vec::new();
        for (name, own) in &settings.operations {
            let merged = own.clone().merge_over(known.get(name));
            let place = format!("operations.{name}");
            faults.extend(merged.check(name).into_iter().map(|fault| fault.within(&place)));
        }
        faults.extend(find_shared_event(&settings.operations));
        faults
    }

    fn open(
        endpoint: &EndpointSettings,
        settings: ApiSettings,
        _rules: &ChannelsSection,
    ) -> Result<EndpointChannel, String> {
        let ApiSettings { preset, operations, writes_for } = settings;
        let mut known = operation_preset::find_operations(preset.as_deref())?;
        let own: Vec<String> = operations.keys().cloned().collect();
        for (name, given) in operations {
            let merged = given.merge_over(known.get(&name));
            known.insert(name, merged);
        }
        let base = read_http_url(&endpoint.url)?;
        let operations = ApiOperations::new(base, known, &own, writes_for);
        Ok(EndpointChannel::Api(Arc::new(operations)))
    }
}

/// Returns the fault if two operations list the same event type.
fn find_shared_event(operations: &BTreeMap<String, OperationSettings>) -> Option<InputFault> {
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    for (name, operation) in operations {
        for pattern in operation.events.iter().map(ToString::to_string) {
            if let Some(other) = taken.get(&pattern) {
                let why = format!("`{pattern}` is also among the events of `{other}`");
                return Some(InputFault::new(format!("operations.{name}.events"), why));
            }
            taken.insert(pattern, name);
        }
    }
    None
}

#[cfg(test)]
mod tests;
