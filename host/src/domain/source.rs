//! Sources: the systems that events come from.

use super::id::SourceId;
use super::problem::{Fault, check_name};
use super::time::Timestamp;
use super::webhook::WebhookSettings;
use serde::{Deserialize, Serialize};

/// How events of a source reach Waybill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// Pushed to `POST /api/v1/events`.
    #[default]
    Http,
    /// Received at `POST /in/{source}`, signed.
    Webhook,
}

/// What an operator sets of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceSettings {
    /// Its name, as events carry it in `source`.
    pub name: String,
    /// How its events come.
    #[serde(default)]
    pub kind: SourceKind,
    /// Who sends its webhooks, and how they are read; of kind `webhook` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookSettings>,
    /// Whether event types that are not in the catalogue are refused.
    #[serde(default)]
    pub strict: bool,
    /// Whether its events are accepted; `false` while it is paused.
    #[serde(default = "super::endpoint::yes")]
    pub enabled: bool,
}

impl SourceSettings {
    /// What is wrong with it, if anything.
    pub fn check(&self) -> Vec<Fault> {
        let mut faults: Vec<Fault> = check_name(&self.name).err().into_iter().collect();
        match (&self.webhook, self.kind) {
            (Some(webhook), SourceKind::Webhook) => {
                faults.extend(webhook.check().into_iter().map(|fault| fault.within("webhook")));
            }
            (None, SourceKind::Webhook) => {
                let message = "say who sends, such as `{\"scheme\": \"perfexapi\"}`";
                faults.push(Fault::new("webhook", message));
            }
            (Some(_), SourceKind::Http) => {
                faults.push(Fault::new("webhook", "goes with the kind `webhook` only"));
            }
            (None, SourceKind::Http) => {}
        }
        faults
    }
}

/// A stored source.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Source {
    /// Its id.
    #[schema(value_type = String)]
    pub id: SourceId,
    /// What the operator set.
    #[serde(flatten)]
    pub settings: SourceSettings,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}
