//! What a kind of endpoints is: its description, its settings, and how it is made ready.

use super::api_channel::ApiOperations;
use super::delivery_channel::DeliveryChannel;
use super::settings_check;
use crate::config::ChannelsSection;
use crate::model::endpoint::EndpointSettings;
use crate::model::fault::InputFault;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::fmt::Debug;
use std::sync::Arc;

/// What a kind can do. An endpoint that sets a field which its kind does not use is refused.
#[derive(Debug, Clone, Copy, Default, Serialize, utoipa::ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of the wire")]
pub struct ChannelCapabilities {
    /// Whether deliveries are signed: `signing` and `secret`.
    pub signs: bool,
    /// Whether deliveries carry the `headers` of the endpoint.
    pub headers: bool,
    /// Whether the body is an `envelope`. Other kinds write texts of their own.
    pub envelope: bool,
    /// Whether several deliveries may go in one exchange with the receiver.
    pub batches: bool,
    /// Whether a delivery takes effect once, however often it is made.
    pub exactly_once: bool,
}

/// A kind, as it is shown.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
pub struct ChannelDescription {
    /// Its name, as in `kind` of an endpoint.
    pub kind: &'static str,
    /// Its name for people.
    pub label: &'static str,
    /// The schemes that the `url` of an endpoint may have.
    #[schema(value_type = Vec<String>)]
    pub url_schemes: &'static [&'static str],
    /// What `url` names, with an example.
    pub url_hint: &'static str,
    /// When a delivery counts as made.
    pub delivered_when: &'static str,
    /// Which answers end a delivery at once as a dead letter; all others are tried again.
    pub dead_when: &'static str,
    /// By what a receiver recognises a repeat.
    pub repeat_known_by: &'static str,
    /// The size limits of the receiver, and what happens above them.
    pub limits: &'static str,
    /// What it can do.
    pub capabilities: ChannelCapabilities,
}

/// A kind of endpoints.
pub trait ChannelKind {
    /// Its description.
    const DESCRIPTION: ChannelDescription;

    /// The `settings` of an endpoint of this kind. The JSON Schema is made from the type: secrets
    /// are marked `#[schema(write_only)]`, and have a name of
    /// [`SECRET_SETTINGS`](crate::model::private_values::SECRET_SETTINGS).
    type Settings: DeserializeOwned + utoipa::PartialSchema;

    /// Returns the faults of settings that fit the schema. Their paths begin within `settings`.
    fn check(settings: &Self::Settings, rules: &ChannelsSection) -> Vec<InputFault>;

    /// Opens the channel of an endpoint without I/O: it connects when there is something to send.
    /// The error says why nothing can be sent.
    fn open(
        endpoint: &EndpointSettings,
        settings: Self::Settings,
        rules: &ChannelsSection,
    ) -> Result<EndpointChannel, String>;
}

/// How deliveries of an endpoint are made.
#[derive(Debug, Clone)]
pub enum EndpointChannel {
    /// As a signed `POST`, by `delivery::attempt` itself.
    Webhook,
    /// As a request of one of these operations, by `delivery::api_attempt`.
    Api(Arc<ApiOperations>),
    /// By a channel of another kind.
    Other(Arc<dyn DeliveryChannel>),
    /// Nothing can be sent, for this reason: another version of Waybill stored the endpoint, or the
    /// configuration no longer permits it.
    Unusable(String),
}

/// A kind in the list of all kinds.
#[derive(Debug)]
pub struct RegisteredChannel {
    /// What is said of it.
    pub description: ChannelDescription,
    schema: fn() -> Value,
    check: fn(&Map<String, Value>, &ChannelsSection) -> Vec<InputFault>,
    open: fn(&EndpointSettings, &ChannelsSection) -> Result<EndpointChannel, String>,
}

impl RegisteredChannel {
    /// Registers a kind.
    pub const fn of<K: ChannelKind>() -> Self {
        Self {
            description: K::DESCRIPTION,
            schema: settings_check::settings_schema::<K::Settings>,
            check: settings_check::check_settings::<K>,
            open: open_channel::<K>,
        }
    }

    /// Returns the JSON Schema of its `settings`.
    pub fn settings_schema(&self) -> Value {
        (self.schema)()
    }

    /// Returns the names of the settings that are secrets: stored encrypted and never shown.
    pub fn secret_fields(&self) -> Vec<String> {
        settings_check::secret_fields(&self.settings_schema())
    }

    /// Returns the faults of the `settings` of an endpoint, each with its path in the endpoint.
    pub fn check_settings(
        &self,
        settings: &Map<String, Value>,
        rules: &ChannelsSection,
    ) -> Vec<InputFault> {
        (self.check)(settings, rules)
    }

    /// Opens the channel of an endpoint of this kind.
    pub fn open(&self, endpoint: &EndpointSettings, rules: &ChannelsSection) -> EndpointChannel {
        (self.open)(endpoint, rules).unwrap_or_else(EndpointChannel::Unusable)
    }
}

fn open_channel<K: ChannelKind>(
    endpoint: &EndpointSettings,
    rules: &ChannelsSection,
) -> Result<EndpointChannel, String> {
    let settings = serde_json::from_value(Value::Object(endpoint.settings.clone()))
        .map_err(|why| format!("its settings cannot be read: {why}"))?;
    K::open(endpoint, settings, rules)
}
