//! The kind `module`: an uploaded module says which requests a delivery takes, and what their
//! answers mean. The host makes the requests.
//!
//! An endpoint names a module and gives it a configuration, as a flow does. The settings layer binds
//! the version ([`ModuleReceiver`]) each time the settings are loaded. Until a version can run, the
//! deliveries of the endpoint wait.

mod module_attempt;
mod shown_calls;

use super::channel_kind::{ChannelCapabilities, ChannelDescription, ChannelKind, EndpointChannel};
use super::delivery_channel::{ChannelCall, ChannelReply, DeliveryChannel};
use crate::config::ChannelsSection;
use crate::metrics::{ModuleFigures, VersionFigures};
use crate::model::capability_grants::CapabilityGrants;
use crate::model::endpoint::EndpointSettings;
use crate::model::envelope::{EnvelopeMessage, JSON, RenderedBody};
use crate::model::fault::{InputFault, check_name};
use crate::model::flow::{FlowModule, ModuleConfig};
use crate::signing::usable_secret::UsableSecrets;
use crate::wasm::{LoadedModule, ModuleRole};
use futures_util::future::BoxFuture;
use module_attempt::ModuleAttempt;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The name of the kind.
pub const MODULE: &str = "module";
/// Most requests of one attempt.
const MOST_REQUESTS: u32 = 8;
/// Most KiB of one answer.
const MOST_ANSWER_KIB: u32 = 1024;
/// KiB of one answer if the endpoint does not say. An attempt holds all of its answers.
const USUAL_ANSWER_KIB: u32 = 128;

/// Endpoints of the kind `module`.
#[derive(Debug)]
pub struct ModuleChannel;

/// The settings of an endpoint of kind `module`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModuleChannelSettings {
    /// The name of the module. It must have the role `channel`.
    #[schema(min_length = 1, max_length = 255, example = "slack-thread")]
    module: String,
    /// The version to run. Default: the active version.
    #[serde(default)]
    #[schema(minimum = 1)]
    version: Option<u32>,
    /// The configuration that the module reads. It must fit the schema in the module's manifest.
    /// Members with the names of secrets are stored encrypted and shown as `***`; better name
    /// secrets of modules.
    #[serde(default)]
    #[schema(value_type = Object, example = json!({"channel": "C0123456789"}))]
    config: BTreeMap<String, Value>,
    /// Most requests of one attempt, 1 to 8.
    #[serde(default = "most_requests")]
    #[schema(minimum = 1, maximum = 8, default = 8)]
    max_requests: u32,
    /// Most KiB of one answer, 1 to 1024. A longer answer makes the delivery a dead letter.
    #[serde(default = "most_answer_kib")]
    #[schema(minimum = 1, maximum = 1024, default = 128)]
    max_answer_kib: u32,
}

const fn most_requests() -> u32 {
    MOST_REQUESTS
}

const fn most_answer_kib() -> u32 {
    USUAL_ANSWER_KIB
}

impl ChannelKind for ModuleChannel {
    const DESCRIPTION: ChannelDescription = ChannelDescription {
        kind: MODULE,
        label: "Module",
        url_schemes: &["module"],
        url_hint: "a name for the receiver, such as module://slack; the module says which addresses are called",
        delivered_when: "the module says so",
        dead_when: "the module answers a permanent failure, traps, or wants something that no attempt may do",
        repeat_known_by: "the delivery's id, if the module sends it",
        limits: "8 requests in one attempt, 1 MiB for a request or an answer, 4 MiB for all answers of an attempt",
        capabilities: ChannelCapabilities::NONE,
    };

    type Settings = ModuleChannelSettings;

    fn check(settings: &ModuleChannelSettings, _rules: &ChannelsSection) -> Vec<InputFault> {
        let fault = check_name(&settings.module).err();
        fault.map(|fault| InputFault::new("module", fault.message)).into_iter().collect()
    }

    fn open(
        _endpoint: &EndpointSettings,
        _settings: ModuleChannelSettings,
        _rules: &ChannelsSection,
    ) -> Result<EndpointChannel, String> {
        let why = "its module is not loaded yet".to_owned();
        Ok(EndpointChannel::Waiting { why, is_loading: true })
    }
}

/// Returns the module that an endpoint names. `None` for other kinds, and if the settings cannot be
/// read.
pub fn find_module(endpoint: &EndpointSettings) -> Option<FlowModule> {
    let ModuleChannelSettings { module, version, config, .. } = read_settings(endpoint)?;
    Some(FlowModule { name: module, version, config, ..FlowModule::default() })
}

fn read_settings(endpoint: &EndpointSettings) -> Option<ModuleChannelSettings> {
    let settings = (endpoint.kind == MODULE).then(|| Value::Object(endpoint.settings.clone()))?;
    serde_json::from_value(settings).ok()
}

/// A module in the version that runs, with everything that it needs.
#[derive(Debug, Clone)]
pub struct BoundChannel {
    /// The module's name on this server.
    pub name: String,
    pub version: u32,
    pub module: LoadedModule,
    pub config: Arc<ModuleConfig>,
    pub grants: Arc<CapabilityGrants>,
    /// The granted secrets that exist.
    pub secrets: Arc<UsableSecrets>,
    /// Hosts for which the operator allows plain HTTP.
    pub plain_http: Arc<[String]>,
    pub figures: Arc<ModuleFigures>,
    /// The figures of the version.
    pub version_figures: Option<Arc<VersionFigures>>,
}

/// Delivers by a module.
#[derive(Debug)]
pub struct ModuleReceiver {
    bound: BoundChannel,
    /// The name of the endpoint.
    endpoint: String,
    most_requests: usize,
    most_answer: usize,
}

impl ModuleReceiver {
    /// Opens the channel of an endpoint. Fails if the module does not have the role.
    pub fn open(endpoint: &EndpointSettings, bound: BoundChannel) -> EndpointChannel {
        if !bound.module.report().has_role(ModuleRole::Channel) {
            let (name, version) = (&bound.name, bound.version);
            let why =
                format!("version {version} of module `{name}` does not have the role `channel`");
            return EndpointChannel::Waiting { why, is_loading: false };
        }
        let Some(settings) = read_settings(endpoint) else {
            let why = "the endpoint's settings cannot be read".to_owned();
            return EndpointChannel::Waiting { why, is_loading: false };
        };
        EndpointChannel::Other(Arc::new(Self {
            bound,
            endpoint: endpoint.name.clone(),
            most_requests: settings.max_requests.clamp(1, MOST_REQUESTS) as usize,
            most_answer: (settings.max_answer_kib.clamp(1, MOST_ANSWER_KIB) as usize) << 10,
        }))
    }
}

impl DeliveryChannel for ModuleReceiver {
    fn deliver<'a>(&'a self, call: ChannelCall<'a>) -> BoxFuture<'a, Option<ChannelReply>> {
        Box::pin(ModuleAttempt::make_attempt(self, call))
    }

    /// Returns the payload that the module gets. The request is not known before an attempt.
    fn preview(
        &self,
        message: &EnvelopeMessage<'_>,
        _body: Option<RenderedBody>,
    ) -> Result<RenderedBody, String> {
        let body = message.data.as_bytes().to_vec();
        Ok(RenderedBody { body, content_type: Cow::from(JSON), headers: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn endpoint(kind: &str, settings: &Value) -> EndpointSettings {
        let given = json!({"name": "a", "kind": kind, "url": "module://a", "settings": settings});
        serde_json::from_value(given).unwrap()
    }

    #[test]
    fn an_endpoint_names_its_module_as_a_flow_does() {
        let settings = json!({"module": "slack-thread", "version": 3, "config": {"channel": "C1"}});
        let found = find_module(&endpoint(MODULE, &settings)).unwrap();
        assert_eq!((found.name.as_str(), found.version), ("slack-thread", Some(3)));
        assert_eq!(found.texts()["channel"], "C1");
        assert_eq!(find_module(&endpoint("webhook", &json!({}))), None);
    }

    #[test]
    fn limits_are_bounded() {
        let rules = ChannelsSection::default();
        let channel = super::super::find_channel(MODULE).unwrap();
        let faults = |settings: Value| {
            let Value::Object(settings) = settings else { unreachable!() };
            channel.check_settings(&settings, &rules)
        };
        assert!(faults(json!({"module": "m", "max_requests": 8, "max_answer_kib": 1})).is_empty());
        for (settings, place) in [
            (json!({}), "settings"),
            (json!({"module": "m", "max_requests": 9}), "settings.max_requests"),
            (json!({"module": "m", "max_answer_kib": 0}), "settings.max_answer_kib"),
            (json!({"module": "m", "config": 1}), "settings.config"),
            (json!({"module": "a/b"}), "settings.module"),
        ] {
            assert_eq!(faults(settings)[0].path, place);
        }
    }
}
