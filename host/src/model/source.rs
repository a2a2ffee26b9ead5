//! Sources: the systems that events come from.

use super::id::SourceId;
use super::timing::SourceTiming;
use crate::model::alert::NOTICE_SOURCE;
use crate::model::database_source::DatabaseSettings;
use crate::model::fault::{InputFault, check_name};
use crate::model::flow::FlowModule;
use crate::model::poll_source::PollSettings;
use crate::model::schedule_source::ScheduleSettings;
use crate::model::source_module::{ModulePullSettings, module_entry};
use crate::model::stream_source::{AmqpQueueSettings, NatsStreamSettings};
use crate::model::webhook_source::WebhookSettings;
use crate::time::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// The way in which events of a source reach Waybill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// Pushed to `POST /api/v1/events`.
    #[default]
    Http,
    /// Signed requests to `POST /in/{source}`.
    Webhook,
    /// Polled from a REST API.
    Poll,
    /// Read from a database: a CRM's, or any other.
    Database,
    /// Captured at scheduled times.
    Schedule,
    /// Consumed from a stream of NATS JetStream.
    Nats,
    /// Consumed from a queue of AMQP 0-9-1, such as RabbitMQ's.
    Amqp,
    /// Asked for by a module with the role `puller`.
    Module,
}

impl SourceKind {
    /// Returns the name of the kind, which is also the name of its settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Webhook => "webhook",
            Self::Poll => "poll",
            Self::Database => "database",
            Self::Schedule => "schedule",
            Self::Nats => "nats",
            Self::Amqp => "amqp",
            Self::Module => "module",
        }
    }

    /// Returns the shortest valid settings.
    const fn example(self) -> &'static str {
        match self {
            Self::Http => "{}",
            Self::Webhook => r#"{"scheme": "perfexapi"}"#,
            Self::Poll => {
                r#"{"preset": "data-builder", "url": "https://crm.example.com", "lists": ["invoices"]}"#
            }
            Self::Database => r#"{"url": "mysql://waybill@127.0.0.1:3306/perfex"}"#,
            Self::Schedule => r#"{"cron": "0 9 * * MON-FRI"}"#,
            Self::Nats => r#"{"url": "tls://nats.example.com:4222", "stream": "CRM"}"#,
            Self::Amqp => {
                r#"{"url": "amqps://mq.example.com:5671", "queue": "waybill", "user": "waybill"}"#
            }
            Self::Module => r#"{"name": "paged-orders"}"#,
        }
    }
}

/// The settings of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceSettings {
    /// Name of the source, as in `source` of its events.
    pub name: String,
    /// Way in which events reach Waybill.
    #[serde(default)]
    pub kind: SourceKind,
    /// Settings of the kind `webhook`: the sender, and how its requests are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookSettings>,
    /// Settings of the kind `poll`: the API and its lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<PollSettings>,
    /// Settings of the kind `database`: the database and its tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseSettings>,
    /// Settings of the kind `schedule`: the times and the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleSettings>,
    /// Settings of the kind `nats`: the server and the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nats: Option<NatsStreamSettings>,
    /// Settings of the kind `amqp`: the broker and the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amqp: Option<AmqpQueueSettings>,
    /// Settings of the kind `module`: the module that asks for the events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<ModulePullSettings>,
    /// Whether event types that are not in the catalogue are refused.
    #[serde(default)]
    pub strict: bool,
    /// Whether events of the source are accepted. `false` while it is paused.
    #[serde(default = "super::endpoint::yes")]
    pub enabled: bool,
}

impl SourceSettings {
    /// Returns the faults of the settings.
    pub fn check(&self) -> Vec<InputFault> {
        let mut faults: Vec<InputFault> = check_name(&self.name).err().into_iter().collect();
        if self.name == NOTICE_SOURCE {
            let message = format!("`{NOTICE_SOURCE}` is reserved for Waybill's own notices");
            faults.push(InputFault::new("name", message));
        }
        let parts = [
            (SourceKind::Webhook, self.webhook.as_ref().map(WebhookSettings::check)),
            (SourceKind::Poll, self.poll.as_ref().map(PollSettings::check)),
            (SourceKind::Database, self.database.as_ref().map(DatabaseSettings::check)),
            (SourceKind::Schedule, self.schedule.as_ref().map(ScheduleSettings::check)),
            (SourceKind::Nats, self.nats.as_ref().map(NatsStreamSettings::check)),
            (SourceKind::Amqp, self.amqp.as_ref().map(AmqpQueueSettings::check)),
            (SourceKind::Module, self.module.as_ref().map(ModulePullSettings::check)),
        ];
        for (kind, checked) in parts {
            let name = kind.as_str();
            match checked {
                Some(found) if kind == self.kind => {
                    faults.extend(found.into_iter().map(|fault| fault.within(name)));
                }
                Some(_) => {
                    faults.push(InputFault::new(
                        name,
                        format!("only the kind `{name}` uses this; leave it out"),
                    ));
                }
                None if kind == self.kind => {
                    let message = format!("set at least `{}`", kind.example());
                    faults.push(InputFault::new(name, message));
                }
                None => {}
            }
        }
        faults
    }

    /// Whether the source has a secret: one with which senders sign, or one that Waybill shows to
    /// others.
    pub fn has_secret(&self) -> bool {
        self.webhook.as_ref().is_some_and(|webhook| webhook.scheme.has_secret())
            || matches!(
                self.kind,
                SourceKind::Poll | SourceKind::Database | SourceKind::Nats | SourceKind::Amqp
            )
    }

    /// Returns the address that the secret is sent to, if there is one.
    pub fn asked(&self) -> Option<&str> {
        let polled = self.poll.as_ref().map(|poll| poll.url.as_str());
        let read = self.database.as_ref().map(|database| database.url.as_str());
        let stream = self.nats.as_ref().map(|nats| nats.url.as_str());
        let queue = self.amqp.as_ref().map(|amqp| amqp.url.as_str());
        polled.or(read).or(stream).or(queue)
    }

    /// Returns the module that makes the source's events, if one does.
    pub fn find_module(&self) -> Option<FlowModule> {
        let decoder = self.webhook.as_ref().and_then(|webhook| webhook.module.as_ref());
        let decoder = decoder.map(|one| module_entry(&one.name, one.version, &one.config));
        let puller = self.module.as_ref();
        decoder.or_else(|| puller.map(|one| module_entry(&one.name, one.version, &one.config)))
    }

    /// Returns the place of the module in the settings.
    pub const fn module_place(&self) -> &'static str {
        if self.webhook.is_some() { "webhook.module" } else { "module" }
    }

    /// Returns the timing of a source that Waybill runs. A schedule that cannot be read has been
    /// reported before.
    pub fn timing(&self) -> Option<SourceTiming> {
        let polled = self.poll.as_ref().map(PollSettings::timing);
        let read = self.database.as_ref().map(DatabaseSettings::timing);
        let clock =
            self.schedule.as_ref().map(|s| s.cron().map(|cron| SourceTiming::Cron(cron.into())));
        let consumes = self.nats.is_some() || self.amqp.is_some();
        let always = consumes.then_some(Ok(SourceTiming::Always));
        let asked = self.module.as_ref().map(ModulePullSettings::timing);
        polled.or(read).or(clock).or(asked).or(always)?.ok()
    }
}

/// A stored source.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Source {
    /// Id of the source.
    #[schema(value_type = String)]
    pub id: SourceId,
    #[serde(flatten)]
    pub settings: SourceSettings,
    /// Creation time.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Time of the last change.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_source_has_the_name_of_the_source_of_notices() {
        let faults = |name: &str| {
            let settings = serde_json::json!({"name": name, "kind": "webhook"});
            let settings: SourceSettings = serde_json::from_value(settings).unwrap();
            settings.check().into_iter().filter(|fault| fault.path == "name").count()
        };
        assert_eq!((faults("waybill"), faults("waybill-2")), (1, 0));
    }
}
