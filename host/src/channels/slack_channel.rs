//! The kind `slack`: posts to an incoming webhook of Slack, or of a chat that accepts the same
//! messages.
//!
//! Every text is a `plain_text` object, so nothing in an event is read as markup. `&`, `<` and `>`
//! are escaped as Slack requires, so `<!channel>` and `<@U1>` mention nobody.

use super::channel_kind::{ChannelCapabilities, ChannelDescription, ChannelKind, EndpointChannel};
use super::chat_post::{ChatChannel, ChatSettings, ChatWriter, cut_escaped};
use super::event_digest::EventDigest;
use crate::config::ChannelsSection;
use crate::model::endpoint::EndpointSettings;
use crate::model::fault::InputFault;
use crate::net::http_url::read_http_url;
use serde_json::{Value, json};

/// Longest text of a header block, of a section, of a field and of a notification, in characters
/// (Slack, "Block Kit reference", "Sending messages using incoming webhooks").
const MAX_HEADER: usize = 150;
const MAX_SECTION: usize = 3_000;
const MAX_FIELD: usize = 2_000;
const MAX_TEXT: usize = 4_000;

/// Endpoints of the kind `slack`.
#[derive(Debug)]
pub struct SlackChannel;

impl ChannelKind for SlackChannel {
    const DESCRIPTION: ChannelDescription = ChannelDescription {
        kind: "slack",
        label: "Slack",
        url_schemes: &["https", "http"],
        url_hint: "an incoming webhook, such as https://hooks.slack.com/services/T…/B…/…",
        delivered_when: "Slack answers with a 2xx",
        dead_when: "400, 413 and 422: Slack refuses the message as it is",
        repeat_known_by: "not recognised: a repeat is shown twice",
        limits: "heading 150 characters, text 3000, each of ten fields 2000; longer texts are cut and end with …",
        capabilities: ChannelCapabilities::NONE,
    };

    type Settings = ChatSettings;

    fn check(settings: &ChatSettings, _rules: &ChannelsSection) -> Vec<InputFault> {
        settings.check_texts()
    }

    fn open(
        endpoint: &EndpointSettings,
        settings: ChatSettings,
        _rules: &ChannelsSection,
    ) -> Result<EndpointChannel, String> {
        ChatChannel::open(read_http_url(&endpoint.url)?, &settings, SlackWriter)
    }
}

/// Writes events as blocks.
#[derive(Debug)]
struct SlackWriter;

impl ChatWriter for SlackWriter {
    fn write_message(&self, digest: &EventDigest) -> Value {
        let mut blocks = vec![json!({"type": "header", "text": plain(&digest.title, MAX_HEADER)})];
        if let Some(text) = &digest.text {
            blocks.push(json!({"type": "section", "text": plain(text, MAX_SECTION)}));
        }
        if !digest.facts.is_empty() {
            let fields = digest.facts.iter();
            let fields = fields.map(|(name, value)| plain(&format!("{name}\n{value}"), MAX_FIELD));
            blocks.push(json!({"type": "section", "fields": fields.collect::<Vec<_>>()}));
        }
        let footer = if digest.has_more {
            format!("… · {}", digest.footer)
        } else {
            digest.footer.clone()
        };
        blocks.push(json!({"type": "context", "elements": [plain(&footer, MAX_SECTION)]}));
        let text = cut_escaped(&digest.title, MAX_TEXT, escape);
        json!({"text": text, "mrkdwn": false, "link_names": false, "blocks": blocks})
    }
}

fn plain(text: &str, most: usize) -> Value {
    // A text object must have at least one character.
    let text = if text.trim().is_empty() { "–" } else { text };
    json!({"type": "plain_text", "emoji": false, "text": cut_escaped(text, most, escape)})
}

fn escape(character: char, out: &mut String) {
    match character {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        other => out.push(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mentions_are_texts_and_long_texts_are_cut() {
        let digest = EventDigest {
            title: format!("<!channel> & {}", "x".repeat(200)),
            text: Some("*not bold* <@U1>".to_owned()),
            facts: vec![("note".to_owned(), "y".repeat(4_000))],
            has_more: true,
            footer: "crm".to_owned(),
        };
        let message = SlackWriter.write_message(&digest);
        let title = message["blocks"][0]["text"]["text"].as_str().unwrap();
        assert!(title.starts_with("&lt;!channel&gt; &amp; xx") && title.ends_with('…'), "{title}");
        assert_eq!(title.chars().count(), MAX_HEADER);
        assert_eq!(message["blocks"][1]["text"]["text"], "*not bold* &lt;@U1&gt;");
        let field = message["blocks"][2]["fields"][0]["text"].as_str().unwrap();
        assert_eq!(field.chars().count(), MAX_FIELD);
        assert_eq!(message["blocks"][3]["elements"][0]["text"], "… · crm");
        assert!(!message.to_string().contains("mrkdwn\":true"));
    }
}
