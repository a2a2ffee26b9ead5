//! `/channels`: the kinds of endpoints.

use super::answer::{ListAnswer, whole_list};
use super::auth::CallPrincipal;
use crate::channels::channel_kind::ChannelDescription;
use crate::channels::{CHANNELS, RegisteredChannel};
use axum::Json;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A kind of endpoint.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Channel)]
pub struct ChannelView {
    /// Description of the kind.
    #[serde(flatten)]
    description: ChannelDescription,
    /// The secret members of its settings, which are stored encrypted and shown as `***`.
    secret_fields: Vec<String>,
    /// The JSON Schema (2020-12) of `settings` for endpoints of this kind.
    #[schema(value_type = Object)]
    settings_schema: Value,
}

impl ChannelView {
    pub fn new(channel: &RegisteredChannel) -> Self {
        Self {
            description: channel.description,
            secret_fields: channel.secret_fields(),
            settings_schema: channel.settings_schema(),
        }
    }
}

/// Lists the kinds of endpoints, each with the schema of its settings.
#[utoipa::path(get, path = "/api/v1/channels", tag = "endpoints", operation_id = "list_channels",
    responses((status = 200, body = ListAnswer<ChannelView>)))]
pub async fn list_channels(_principal: CallPrincipal) -> Json<ListAnswer<ChannelView>> {
    whole_list(CHANNELS.iter().map(ChannelView::new).collect())
}
