//! Defines a kind of endpoints: its description, its settings, and how its channel is opened.

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

/// The features that a kind supports. Setting a field that its kind does not use is refused.
#[derive(Debug, Clone, Copy, Default, Serialize, utoipa::ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "each is a member of the JSON")]
pub struct ChannelCapabilities {
    /// Whether deliveries are signed, so that `signing` and `secret` apply.
    pub signs: bool,
    /// Whether deliveries carry the `headers` of the endpoint.
    pub headers: bool,
    /// Whether the body is the endpoint's `envelope`. Other kinds write their own texts.
    pub envelope: bool,
    /// Whether several deliveries may be sent in one exchange with the receiver.
    pub batches: bool,
    /// Whether a delivery takes effect only once, however often it is attempted.
    pub exactly_once: bool,
}

impl ChannelCapabilities {
    /// A kind that writes its own texts.
    pub const NONE: Self =
        Self { signs: false, headers: false, envelope: false, batches: false, exactly_once: false };
    /// A kind that sends the endpoint's envelope, one delivery at a time.
    pub const ENVELOPE: Self = Self { envelope: true, ..Self::NONE };
}

/// The description of a kind, as the API shows it.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
pub struct ChannelDescription {
    /// The name, as in `kind` of an endpoint.
    pub kind: &'static str,
    /// The name to show to people.
    pub label: &'static str,
    /// The schemes that the `url` of an endpoint may have.
    #[schema(value_type = Vec<String>)]
    pub url_schemes: &'static [&'static str],
    /// Meaning of the endpoint's `url`, with an example.
    pub url_hint: &'static str,
    /// Condition for a delivery to count as delivered.
    pub delivered_when: &'static str,
    /// Answers that make a delivery a dead letter immediately. All others are retried.
    pub dead_when: &'static str,
    /// How a receiver recognises a repeated delivery.
    pub repeat_known_by: &'static str,
    /// The receiver's size limits, and what happens to messages above them.
    pub limits: &'static str,
    /// The features that the kind supports.
    pub capabilities: ChannelCapabilities,
}

/// A kind of endpoints.
pub trait ChannelKind {
    /// The description of the kind.
    const DESCRIPTION: ChannelDescription;

    /// The `settings` of an endpoint of this kind. The JSON Schema is made from the type. Secrets
    /// are marked `#[schema(write_only)]` and have a name of
    /// [`SECRET_SETTINGS`](crate::model::private_values::SECRET_SETTINGS).
    type Settings: DeserializeOwned + utoipa::PartialSchema;

    /// Returns the faults of settings that fit the schema. Paths are relative to `settings`.
    fn check(settings: &Self::Settings, rules: &ChannelsSection) -> Vec<InputFault>;

    /// Opens the channel of an endpoint without I/O. The channel connects when there is a delivery
    /// to send. The error says why nothing can be sent.
    fn open(
        endpoint: &EndpointSettings,
        settings: Self::Settings,
        rules: &ChannelsSection,
    ) -> Result<EndpointChannel, String>;
}

/// How deliveries of an endpoint are made.
#[derive(Debug, Clone)]
pub enum EndpointChannel {
    /// By a signed HTTP request that `delivery::attempt` makes itself.
    Webhook,
    /// As a request of one of these operations, by `delivery::api_attempt`.
    Api(Arc<ApiOperations>),
    /// Not at all: consumers fetch them, by `delivery::offers`.
    Pulled,
    /// By a channel of another kind.
    Other(Arc<dyn DeliveryChannel>),
    /// Not yet: deliveries wait until the endpoint's module can run.
    Waiting {
        /// Why it cannot run.
        why: String,
        /// Whether the host loads it again by itself.
        is_loading: bool,
    },
    /// Nothing can be sent, for this reason. Another version of Waybill stored the endpoint, or the
    /// configuration does not permit it any more.
    Unusable(String),
}

/// An entry of the list of all kinds.
#[derive(Debug)]
pub struct RegisteredChannel {
    /// The description of the kind.
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

    /// Returns the names of the settings that are secrets. Their values are stored encrypted and
    /// never shown.
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
        .map_err(|why| format!("the endpoint's settings cannot be read: {why}"))?;
    K::open(endpoint, settings, rules)
}
