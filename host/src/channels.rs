//! The kinds of endpoints: which systems deliveries can go to, and how a delivery is made to each.
//!
//! Each kind is a type in a file of its own that implements [`channel_kind::ChannelKind`], and an
//! entry of [`CHANNELS`]. The REST interface, the command line, `apply` and the documentation are
//! made from that list. When the settings of the server are loaded, a kind parses the `settings` of
//! each endpoint once and returns a [`DeliveryChannel`], which makes the deliveries from then on.
//!
//! A kind does not deal with lanes, retries, dead letters, field maps, ordering or rate limits. It
//! makes one attempt and reports the result ([`ChannelReply`]).

pub mod api_channel;
pub mod channel_kind;
pub mod delivery_channel;
pub mod settings_check;

pub mod amqp_channel;
mod chat_post;
mod discord_channel;
mod email_channel;
mod email_message;
mod email_settings;
mod event_digest;
mod event_value;
mod file_channel;
mod kafka_channel;
mod line_form;
pub mod module_channel;
mod mqtt_channel;
pub mod nats_channel;
pub mod pipe;
mod place_template;
pub mod publish;
pub mod pull_channel;
mod queue_publisher;
mod s3_channel;
pub mod session;
pub mod setting_secret;
mod slack_channel;
mod smtp_connection;
mod sql_channel;
mod teams_channel;
mod webhook_channel;

pub use channel_kind::{EndpointChannel, RegisteredChannel};
pub use delivery_channel::{ChannelCall, ChannelOutcome, ChannelReply, DeliveryChannel};

/// All kinds, in the order in which they are listed.
pub static CHANNELS: [RegisteredChannel; 15] = [
    RegisteredChannel::of::<webhook_channel::WebhookChannel>(),
    RegisteredChannel::of::<api_channel::ApiChannel>(),
    RegisteredChannel::of::<slack_channel::SlackChannel>(),
    RegisteredChannel::of::<teams_channel::TeamsChannel>(),
    RegisteredChannel::of::<discord_channel::DiscordChannel>(),
    RegisteredChannel::of::<email_channel::EmailChannel>(),
    RegisteredChannel::of::<amqp_channel::AmqpChannel>(),
    RegisteredChannel::of::<file_channel::FileChannel>(),
    RegisteredChannel::of::<kafka_channel::KafkaChannel>(),
    RegisteredChannel::of::<module_channel::ModuleChannel>(),
    RegisteredChannel::of::<mqtt_channel::MqttChannel>(),
    RegisteredChannel::of::<nats_channel::NatsChannel>(),
    RegisteredChannel::of::<pull_channel::PullChannel>(),
    RegisteredChannel::of::<s3_channel::S3Channel>(),
    RegisteredChannel::of::<sql_channel::SqlChannel>(),
];

/// Returns the kind with a name.
pub fn find_channel(kind: &str) -> Option<&'static RegisteredChannel> {
    CHANNELS.iter().find(|channel| channel.description.kind == kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels::settings_check::check_channel;
    use crate::config::ChannelsSection;
    use crate::model::private_values::SECRET_SETTINGS;
    use serde_json::{Value, json};

    /// Returns the guides of all kinds: `docs/channels.md` and the files beside it whose names
    /// begin the same way.
    fn guides() -> String {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let is_guide = |path: &std::path::PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("channels"))
        };
        files.filter(is_guide).map(|path| std::fs::read_to_string(path).unwrap()).collect()
    }

    /// Returns the names of the settings of a kind.
    fn setting_names(channel: &RegisteredChannel) -> Vec<String> {
        let schema = channel.settings_schema();
        let properties = schema["properties"].as_object().cloned().unwrap_or_default();
        properties.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn secrets_are_marked_and_have_the_names_that_are_hidden() {
        for channel in &CHANNELS {
            let marked = channel.secret_fields();
            for name in setting_names(channel) {
                let is_hidden = SECRET_SETTINGS.contains(&name.as_str());
                let kind = channel.description.kind;
                assert_eq!(marked.contains(&name), is_hidden, "`{name}` of `{kind}`");
            }
        }
    }

    #[test]
    fn every_kind_has_a_name_of_its_own_and_a_schema_that_refuses_unknown_settings() {
        for (at, channel) in CHANNELS.iter().enumerate() {
            let kind = channel.description.kind;
            assert!(CHANNELS.iter().skip(at + 1).all(|other| other.description.kind != kind));
            let unknown = json!({"no such setting": 1});
            let Value::Object(unknown) = unknown else { unreachable!() };
            let faults = channel.check_settings(&unknown, &ChannelsSection::default());
            assert!(!faults.is_empty(), "{kind}");
            assert!(!channel.settings_schema().to_string().contains("$ref"), "{kind}");
        }
    }

    #[test]
    fn the_guide_names_every_kind_and_setting() {
        let guides = guides();
        for channel in &CHANNELS {
            let heading = format!("\n## `{}`\n", channel.description.kind);
            let (_, section) = guides.split_once(&heading).unwrap_or_else(|| panic!("{heading}"));
            let section = section.split("\n## ").next().unwrap_or_default();
            for name in setting_names(channel) {
                assert!(section.contains(&format!("`{name}`")), "`{name}` in{heading}");
            }
        }
    }

    #[test]
    fn faults_name_their_places() {
        let faults = |endpoint: Value| -> Vec<(String, String)> {
            let endpoint = serde_json::from_value(endpoint).unwrap();
            let faults = check_channel(&endpoint, &ChannelsSection::default());
            faults.into_iter().map(|fault| (fault.path, fault.message)).collect()
        };
        let url = "https://h.example/hook";
        assert!(faults(json!({"name": "a", "url": url})).is_empty());
        assert!(faults(json!({"name": "a", "kind": "slack", "url": url})).is_empty());
        let unknown = faults(json!({"name": "a", "kind": "slak", "url": url}));
        assert!(unknown[0].0 == "kind" && unknown[0].1.ends_with("did you mean `slack`?"));
        let mail = json!({"name": "a", "kind": "email", "url": "smtp://", "settings": {"from": 5}});
        let mut places: Vec<String> = faults(mail).into_iter().map(|(path, _)| path).collect();
        places.sort();
        assert_eq!(places, ["settings", "settings.from", "url"]);
    }

    #[test]
    fn bad_urls_are_refused() {
        for url in ["", "example.com", "https://", "http://user:pass@host/", "javascript:alert(1)"]
        {
            let endpoint = serde_json::from_value(json!({"name": "a", "url": url})).unwrap();
            let faults = check_channel(&endpoint, &ChannelsSection::default());
            assert_eq!(faults[0].path, "url", "{url}");
        }
    }
}
