//! The kind `discord`: posts to a webhook of a Discord channel.
//!
//! Every character with a meaning in Discord's Markdown is escaped, and `allowed_mentions` lets no
//! message mention anybody.

use super::channel_kind::{ChannelCapabilities, ChannelDescription, ChannelKind, EndpointChannel};
use super::chat_post::{ChatChannel, ChatSettings, ChatWriter, cut_escaped};
use super::event_digest::{EventDigest, check_templates};
use crate::config::ChannelsSection;
use crate::model::endpoint::EndpointSettings;
use crate::model::fault::InputFault;
use crate::net::http_url::read_http_url;
use http::Uri;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Longest parts of an embed, in characters. Ten fields of 380 characters each, the heading, the
/// text and the footer stay below 6,000 together (Discord, "Embed limits").
const MAX_TITLE: usize = 256;
const MAX_TEXT: usize = 1_500;
const MAX_NAME: usize = 80;
const MAX_VALUE: usize = 300;
const MAX_FOOTER: usize = 200;
/// Longest name of a sender, in characters.
const MAX_USERNAME: usize = 80;

/// Endpoints of the kind `discord`.
#[derive(Debug)]
pub struct DiscordChannel;

/// The settings of an endpoint of kind `discord`, beside its `url`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DiscordSettings {
    /// The heading. Fields of the event are written in braces: `Invoice {data.number} is paid`. If
    /// left out, the event type and the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 16_384)]
    title: Option<String>,
    /// A text below the heading, with fields of the event in braces. If left out, there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 16_384)]
    text: Option<String>,
    /// Whether to list the first ten fields of the data that are texts, numbers or booleans.
    #[serde(default = "crate::model::endpoint::yes")]
    #[schema(default = true)]
    facts: bool,
    /// The name that messages are sent under. If left out, the webhook's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 80)]
    username: Option<String>,
}

impl ChannelKind for DiscordChannel {
    const DESCRIPTION: ChannelDescription = ChannelDescription {
        kind: "discord",
        label: "Discord",
        url_schemes: &["https", "http"],
        url_hint: "a webhook of a channel, such as https://discord.com/api/webhooks/…/…",
        delivered_when: "Discord answers with a 2xx, after it has stored the message (wait=true)",
        dead_when: "400, 413 and 422: Discord refuses the message as it is",
        repeat_known_by: "not recognised: a repeat is shown twice",
        limits: "heading 256 characters, text 1500, each of ten fields 300; longer texts are cut and end with …",
        capabilities: ChannelCapabilities::NONE,
    };

    type Settings = DiscordSettings;

    fn check(settings: &DiscordSettings, _rules: &ChannelsSection) -> Vec<InputFault> {
        let mut faults = check_templates(&[
            ("title", settings.title.as_deref()),
            ("text", settings.text.as_deref()),
        ]);
        let name = settings.username.as_deref().map(str::to_lowercase).unwrap_or_default();
        if ["discord", "clyde"].iter().any(|reserved| name.contains(reserved)) {
            let message = "Discord refuses names that contain `discord` or `clyde`";
            faults.push(InputFault::new("username", message));
        }
        faults
    }

    fn open(
        endpoint: &EndpointSettings,
        settings: DiscordSettings,
        _rules: &ChannelsSection,
    ) -> Result<EndpointChannel, String> {
        let DiscordSettings { title, text, facts, username } = settings;
        let uri = waiting(&read_http_url(&endpoint.url)?)?;
        let settings = ChatSettings { title, text, facts };
        ChatChannel::open(uri, &settings, DiscordWriter { username })
    }
}

/// Adds the parameter that makes Discord answer only after the message is stored.
fn waiting(uri: &Uri) -> Result<Uri, String> {
    let separator = if uri.query().is_some() { '&' } else { '?' };
    format!("{uri}{separator}wait=true").parse().map_err(|why| format!("its URL: {why}"))
}

/// Writes events as embeds.
#[derive(Debug)]
struct DiscordWriter {
    username: Option<String>,
}

impl ChatWriter for DiscordWriter {
    fn write_message(&self, digest: &EventDigest) -> Value {
        let fields = digest.facts.iter().map(|(name, value)| {
            json!({"name": cut(name, MAX_NAME), "value": cut(value, MAX_VALUE), "inline": true})
        });
        let fields: Vec<Value> = fields.collect();
        let more = if digest.has_more { "… · " } else { "" };
        // Discord reads no Markdown in a footer.
        let footer = format!("{more}{}", digest.footer);
        let mut embed = Map::new();
        embed.insert("title".to_owned(), cut(&digest.title, MAX_TITLE).into());
        embed.insert("fields".to_owned(), fields.into());
        let footer = cut_escaped(&footer, MAX_FOOTER, |c, out| out.push(c));
        embed.insert("footer".to_owned(), json!({ "text": footer }));
        if let Some(text) = &digest.text {
            embed.insert("description".to_owned(), cut(text, MAX_TEXT).into());
        }
        let mut message = Map::new();
        message.insert("embeds".to_owned(), json!([embed]));
        message.insert("allowed_mentions".to_owned(), json!({"parse": []}));
        if let Some(username) = &self.username {
            let name = cut_escaped(username, MAX_USERNAME, |c, out| out.push(c));
            message.insert("username".to_owned(), name.into());
        }
        message.into()
    }
}

fn cut(text: &str, most: usize) -> String {
    cut_escaped(text, most, escape)
}

/// Escapes with a backslash, which turns off the meaning of any ASCII punctuation.
fn escape(character: char, out: &mut String) {
    if matches!(
        character,
        '\\' | '*'
            | '_'
            | '~'
            | '`'
            | '|'
            | '>'
            | '<'
            | '#'
            | '-'
            | '['
            | ']'
            | '('
            | ')'
            | '@'
            | ':'
    ) {
        out.push('\\');
    }
    out.push(character);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_embed_stays_below_its_limits_and_mentions_nobody() {
        let long = "*".repeat(9_000);
        let digest = EventDigest {
            title: format!("@everyone {long}"),
            text: Some(format!("[x](https://evil.example) <t:1> {long}")),
            facts: vec![(long.clone(), long.clone()); 10],
            has_more: true,
            footer: long,
        };
        let message = DiscordWriter { username: Some("Books".to_owned()) }.write_message(&digest);
        let embed = &message["embeds"][0];
        assert!(embed["title"].as_str().unwrap().starts_with("\\@everyone \\*"));
        let text = embed["description"].as_str().unwrap();
        assert!(text.starts_with("\\[x\\]\\(https\\://evil.example\\) \\<t\\:1\\> \\*"), "{text}");
        let mut total = 0;
        let mut count = |text: &Value, most: usize| {
            let length = text.as_str().unwrap().encode_utf16().count();
            assert!(length <= most, "{length} of {most}");
            total += length;
        };
        count(&embed["title"], 256);
        count(&embed["description"], 4_096);
        count(&embed["footer"]["text"], 2_048);
        for field in embed["fields"].as_array().unwrap() {
            count(&field["name"], 256);
            count(&field["value"], 1_024);
        }
        assert!(total <= 6_000, "{total}");
        assert_eq!(message["allowed_mentions"], json!({"parse": []}));
    }

    #[test]
    fn discord_answers_after_the_message_is_stored() {
        let waiting = |uri: &str| waiting(&uri.parse().unwrap()).unwrap().to_string();
        assert_eq!(waiting("https://d.example/api/1/x"), "https://d.example/api/1/x?wait=true");
        assert_eq!(
            waiting("https://d.example/x?thread_id=5"),
            "https://d.example/x?thread_id=5&wait=true"
        );
    }
}
