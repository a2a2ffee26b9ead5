//! The kind `webhook`: a signed HTTP request with an envelope. `delivery::attempt` makes it.

use super::channel_kind::{ChannelCapabilities, ChannelDescription, ChannelKind, EndpointChannel};
use crate::config::ChannelsSection;
use crate::model::endpoint::{EndpointSettings, WEBHOOK};
use crate::model::fault::InputFault;
use serde::Deserialize;

/// Endpoints of the kind `webhook`, the default.
#[derive(Debug)]
pub struct WebhookChannel;

/// The settings of the kinds `webhook` and `pull`: none beside the fields of an endpoint.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

impl ChannelKind for WebhookChannel {
    const DESCRIPTION: ChannelDescription = ChannelDescription {
        kind: WEBHOOK,
        label: "Webhook",
        url_schemes: &["https", "http"],
        url_hint: "where deliveries are posted, such as https://erp.example/hooks/waybill",
        delivered_when: "the receiver answers with a 2xx",
        dead_when: "none, except a 410 if `on_gone` is `disable`",
        repeat_known_by: "the header webhook-id",
        limits: "none",
        capabilities: ChannelCapabilities {
            signs: true,
            headers: true,
            envelope: true,
            batches: false,
            exactly_once: false,
        },
    };

    type Settings = NoSettings;

    fn check(_settings: &NoSettings, _rules: &ChannelsSection) -> Vec<InputFault> {
        Vec::new()
    }

    fn open(
        _endpoint: &EndpointSettings,
        _settings: NoSettings,
        _rules: &ChannelsSection,
    ) -> Result<EndpointChannel, String> {
        Ok(EndpointChannel::Webhook)
    }
}
