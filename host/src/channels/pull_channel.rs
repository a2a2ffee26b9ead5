//! The kind `pull`: consumers fetch deliveries and commit them, so nothing connects to a consumer.
//! `delivery::offers` makes and settles the offers.

use super::channel_kind::{ChannelCapabilities, ChannelDescription, ChannelKind, EndpointChannel};
use super::webhook_channel::NoSettings;
use crate::config::ChannelsSection;
use crate::model::endpoint::EndpointSettings;
use crate::model::fault::InputFault;

/// The name of the kind.
pub const PULL: &str = "pull";

/// Endpoints of the kind `pull`.
#[derive(Debug)]
pub struct PullChannel;

impl ChannelKind for PullChannel {
    const DESCRIPTION: ChannelDescription = ChannelDescription {
        kind: PULL,
        label: "Pull (consumers fetch)",
        url_schemes: &["pull"],
        url_hint: "a name for the consumer, such as pull://warehouse; nothing is connected to it",
        delivered_when: "the consumer commits the page that it fetched",
        dead_when: "none; an offer that is not committed counts as a failed attempt",
        repeat_known_by: "the header webhook-id",
        limits: "a page holds at most 200 deliveries, and at most as many as there is memory for",
        capabilities: ChannelCapabilities {
            signs: true,
            headers: false,
            envelope: true,
            batches: true,
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
        Ok(EndpointChannel::Pulled)
    }
}
