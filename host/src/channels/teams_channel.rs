//! The kind `teams`: posts an Adaptive Card to a workflow of Microsoft Teams.
//!
//! Every text is a `TextRun` of a `RichTextBlock`, which does not read Markdown. A mention would
//! need
//! an entity of its own in the card, and none is ever written.

use super::channel_kind::{ChannelCapabilities, ChannelDescription, ChannelKind, EndpointChannel};
use super::chat_post::{ChatChannel, ChatSettings, ChatWriter, cut_escaped};
use super::event_digest::EventDigest;
use crate::config::ChannelsSection;
use crate::model::endpoint::EndpointSettings;
use crate::model::fault::InputFault;
use crate::net::http_url::read_http_url;
use serde_json::{Value, json};

/// Longest texts, in characters. A message may have at most 28 KB (Microsoft, "Limits and
/// specifications for Microsoft Teams"). The texts together stay below that, even if each character
/// takes three bytes.
const MAX_TITLE: usize = 300;
const MAX_TEXT: usize = 4_000;
const MAX_NAME: usize = 80;
const MAX_VALUE: usize = 250;

/// Endpoints of the kind `teams`.
#[derive(Debug)]
pub struct TeamsChannel;

impl ChannelKind for TeamsChannel {
    const DESCRIPTION: ChannelDescription = ChannelDescription {
        kind: "teams",
        label: "Microsoft Teams",
        url_schemes: &["https", "http"],
        url_hint: "the address of a workflow that begins with \"When a Teams webhook request is received\"",
        delivered_when: "the workflow answers with a 2xx: it has accepted the card, but may not have shown it yet",
        dead_when: "400, 413 and 422: the workflow refuses the message as it is",
        repeat_known_by: "not recognised: a repeat is shown twice",
        limits: "a card may have 28 KB: heading 300 characters, text 4000, each of ten fields 250; longer texts are cut and end with …",
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
        ChatChannel::open(read_http_url(&endpoint.url)?, &settings, TeamsWriter)
    }
}

/// Writes events as Adaptive Cards.
#[derive(Debug)]
struct TeamsWriter;

impl ChatWriter for TeamsWriter {
    fn write_message(&self, digest: &EventDigest) -> Value {
        let title = run(&digest.title, MAX_TITLE);
        let mut body = vec![block(&[styled(title, json!({"weight": "bolder", "size": "large"}))])];
        if let Some(text) = &digest.text {
            body.push(block(&[run(text, MAX_TEXT)]));
        }
        for (name, value) in &digest.facts {
            let name = styled(run(&format!("{name}: "), MAX_NAME), json!({"weight": "bolder"}));
            body.push(block(&[name, run(value, MAX_VALUE)]));
        }
        if digest.has_more {
            body.push(block(&[run("…", MAX_NAME)]));
        }
        let footer = run(&digest.footer, MAX_TITLE);
        body.push(block(&[styled(footer, json!({"isSubtle": true, "size": "small"}))]));
        let card = json!({
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "body": body,
        });
        json!({"type": "message", "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": card,
        }]})
    }
}

fn block(inlines: &[Value]) -> Value {
    json!({"type": "RichTextBlock", "inlines": inlines})
}

fn run(text: &str, most: usize) -> Value {
    // `{{DATE(…)}}` is a function of Adaptive Cards and `${…}` an expression of their templates. A
    // zero-width space breaks both.
    let text = text.replace("{{", "{\u{200b}{").replace("${", "$\u{200b}{");
    json!({"type": "TextRun", "text": cut_escaped(&text, most, |character, out| out.push(character))})
}

fn styled(mut run: Value, style: Value) -> Value {
    if let (Value::Object(run), Value::Object(style)) = (&mut run, style) {
        run.extend(style);
    }
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_stays_below_28_kb_and_has_no_markup() {
        let wide = "字".repeat(20_000);
        let digest = EventDigest {
            title: wide.clone(),
            text: Some(format!("[x](https://evil.example) {{{{DATE(2020)}}}} {wide}")),
            facts: vec![(wide.clone(), wide); 10],
            has_more: true,
            footer: "crm".to_owned(),
        };
        let message = TeamsWriter.write_message(&digest);
        assert!(message.to_string().len() < 28 * 1_024, "{} bytes", message.to_string().len());
        let card = &message["attachments"][0]["content"];
        for block in card["body"].as_array().unwrap() {
            assert_eq!(block["type"], "RichTextBlock");
        }
        let text = card["body"][1]["inlines"][0]["text"].as_str().unwrap();
        assert!(
            text.starts_with("[x](https://evil.example) {\u{200b}{DATE") && text.ends_with('…')
        );
    }
}
