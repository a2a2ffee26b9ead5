//! `lead.converted` becomes a Slack message; see the README.

use serde::{Deserialize, Serialize};
use waybill_guest::field::{Cents, Id};
use waybill_guest::{Draft, Event, Failure, Transform, config, export_module};

#[derive(Deserialize)]
struct Lead {
    id: Id,
    name: String,
    company: Option<String>,
    email: Option<String>,
    phonenumber: Option<String>,
    #[serde(rename = "lead_value")]
    value: Option<Cents>,
    customer_id: Option<Id>,
}

/// A message as an incoming webhook takes it
/// (<https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>).
#[derive(Serialize)]
struct Message {
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    /// What notifications show; the blocks are what the channel shows.
    text: String,
    blocks: Vec<Block>,
}

/// A block (<https://docs.slack.dev/reference/block-kit/blocks/section-block>).
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Section {
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<Text>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        fields: Vec<Text>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", content = "text", rename_all = "snake_case")]
enum Text {
    Mrkdwn(String),
}

struct LeadToSlack;

impl Transform for LeadToSlack {
    fn apply(event: Event) -> Result<Vec<Draft>, Failure> {
        let message = message(&event.data()?)?;
        Ok(vec![Draft::json(&message)?.kind("slack.message")])
    }
}

fn message(lead: &Lead) -> Result<Message, Failure> {
    let who = who(lead);
    let headline = match config::optional::<String>("crm_url")? {
        Some(url) => format!(":tada: *<{}|{who}>* is a customer now", link(&url, lead)),
        None => format!(":tada: *{who}* is a customer now"),
    };
    let mut blocks =
        vec![Block::Section { text: Some(Text::Mrkdwn(headline)), fields: Vec::new() }];
    let fields = fields(lead)?;
    if !fields.is_empty() {
        blocks.push(Block::Section { text: None, fields });
    }
    let channel = config::optional("channel")?;
    Ok(Message { channel, text: format!("{who} is a customer now"), blocks })
}

/// Name and company, escaped.
fn who(lead: &Lead) -> String {
    match given(lead.company.as_ref()) {
        Some(company) => format!("{}, {}", escape(&lead.name), escape(company)),
        None => escape(&lead.name),
    }
}

/// The page of the new customer, or of the lead where the event does not name the customer.
fn link(crm_url: &str, lead: &Lead) -> String {
    let base = escape(crm_url.trim_end_matches('/'));
    match lead.customer_id.as_ref().filter(|id| !id.is_none()) {
        Some(customer) => format!("{base}/admin/clients/client/{}", escape(customer.as_str())),
        None => format!("{base}/admin/leads/index/{}", escape(lead.id.as_str())),
    }
}

fn fields(lead: &Lead) -> Result<Vec<Text>, Failure> {
    let currency = config::optional::<String>("currency")?.unwrap_or_default();
    let value = lead.value.map(|value| format!("{value} {currency}").trim_end().to_owned());
    let fields = [
        ("Value", value.as_ref()),
        ("Email", lead.email.as_ref()),
        ("Phone", lead.phonenumber.as_ref()),
    ];
    let present = fields.into_iter().filter_map(|(name, value)| Some((name, given(value)?)));
    Ok(present.map(|(name, value)| Text::Mrkdwn(format!("*{name}*\n{}", escape(value)))).collect())
}

fn given(text: Option<&String>) -> Option<&str> {
    text.map(|text| text.trim()).filter(|text| !text.is_empty())
}

/// The three characters that mean something to Slack
/// (<https://docs.slack.dev/messaging/formatting-message-text#escaping>).
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

export_module!(LeadToSlack: transform);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use waybill_guest::testing::{self, Host};

    use super::*;

    fn message_for(data: Value) -> Value {
        let drafts = LeadToSlack::apply(testing::event("lead.converted", data)).unwrap();
        assert_eq!(drafts.len(), 1);
        assert_eq!(drafts[0].kind.as_deref(), Some("slack.message"));
        testing::payload(&drafts[0])
    }

    #[test]
    fn lead_becomes_a_message() {
        let message = message_for(json!({
            "id": "311", "name": "Eleni Markou", "company": "Harbour Logistics Ltd",
            "email": "eleni@harbour-logistics.example", "phonenumber": "+30 694 555 0177",
            "lead_value": "7500.00", "customer_id": "42",
        }));
        let expected = json!({
            "text": "Eleni Markou, Harbour Logistics Ltd is a customer now",
            "blocks": [
                {"type": "section", "text": {"type": "mrkdwn",
                    "text": ":tada: *Eleni Markou, Harbour Logistics Ltd* is a customer now"}},
                {"type": "section", "fields": [
                    {"type": "mrkdwn", "text": "*Value*\n7500.00"},
                    {"type": "mrkdwn", "text": "*Email*\neleni@harbour-logistics.example"},
                    {"type": "mrkdwn", "text": "*Phone*\n+30 694 555 0177"},
                ]},
            ],
        });
        assert_eq!(message, expected);
    }

    #[test]
    fn markup_in_the_data_is_escaped() {
        let message = message_for(json!({
            "id": 1, "name": "<!channel> A", "company": "B & C", "email": "<b@c>",
        }));
        assert_eq!(message["text"], "&lt;!channel&gt; A, B &amp; C is a customer now");
        assert_eq!(message["blocks"][1]["fields"][0]["text"], "*Email*\n&lt;b@c&gt;");
    }

    #[test]
    fn absent_and_blank_values_are_left_out() {
        let message = message_for(json!({"id": 1, "name": "Eleni", "company": " ", "email": null}));
        assert_eq!(message["text"], "Eleni is a customer now");
        assert_eq!(message["blocks"].as_array().unwrap().len(), 1);
        assert_eq!(message["blocks"][0].get("fields"), None);
    }

    #[test]
    fn configuration_gives_channel_link_and_currency() {
        let _host = Host::with_config(json!({
            "channel": "#sales", "crm_url": "https://crm.example/", "currency": "EUR",
        }));
        let data = json!({"id": 311, "name": "Eleni", "lead_value": 7500, "customer_id": 42});
        let message = message_for(data);
        assert_eq!(message["channel"], "#sales");
        assert_eq!(
            message["blocks"][0]["text"]["text"],
            ":tada: *<https://crm.example/admin/clients/client/42|Eleni>* is a customer now"
        );
        assert_eq!(message["blocks"][1]["fields"][0]["text"], "*Value*\n7500.00 EUR");
    }

    #[test]
    fn link_falls_back_to_the_lead() {
        let _host = Host::with_config(json!({"crm_url": "https://crm.example"}));
        for customer in [json!(0), json!(null)] {
            let message = message_for(json!({"id": 311, "name": "E", "customer_id": customer}));
            let headline = message["blocks"][0]["text"]["text"].as_str().unwrap();
            assert!(
                headline.contains("<https://crm.example/admin/leads/index/311|E>"),
                "{headline}"
            );
        }
    }

    #[test]
    fn lead_without_a_name_is_refused_with_its_place() {
        let event = testing::event("lead.converted", json!({"id": 311, "name": null}));
        let failure = LeadToSlack::apply(event).unwrap_err();
        assert_eq!(failure.reason().pointer.as_deref(), Some("/name"));
    }
}
