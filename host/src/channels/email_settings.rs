//! The settings of an endpoint of kind `email`.

use super::event_digest::check_templates;
use crate::config::ChannelsSection;
use crate::expression::text_template::TextTemplate;
use crate::model::fault::InputFault;
use lettre::message::Mailbox;
use serde::Deserialize;

/// Encryption of the connection to a mail server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SmtpSecurity {
    /// By STARTTLS, which the server must offer.
    #[default]
    Starttls,
    /// From the start of the connection (SMTPS).
    Tls,
    /// Not at all. Only if `channels.smtp_without_tls` permits it.
    None,
}

/// The settings of an endpoint of kind `email`, beside its `url`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmailSettings {
    /// The sender: `books@example.com` or `Books <books@example.com>`. Its domain is also the name
    /// that Waybill uses to greet the server.
    #[schema(min_length = 3, max_length = 320)]
    pub from: String,
    /// The recipients, one address each. An address may contain fields of the event in braces:
    /// `{data.email}`.
    #[schema(min_items = 1, max_items = 50)]
    pub to: Vec<String>,
    /// Further recipients (Cc), visible to all.
    #[serde(default)]
    #[schema(max_items = 50)]
    pub cc: Vec<String>,
    /// Further recipients (Bcc), hidden from the others.
    #[serde(default)]
    #[schema(max_items = 50)]
    pub bcc: Vec<String>,
    /// The address for replies. If left out, replies go to the sender.
    #[serde(default)]
    #[schema(max_length = 320)]
    pub reply_to: Option<String>,
    /// The subject, with fields of the event in braces: `Invoice {data.number} is paid`. If left
    /// out, the event type and the record.
    #[serde(default)]
    #[schema(max_length = 16_384)]
    pub subject: Option<String>,
    /// The plain text, with fields of the event in braces. If both this and `html` are left out,
    /// both forms list the first ten fields of the data.
    #[serde(default)]
    #[schema(max_length = 16_384)]
    pub text: Option<String>,
    /// The HTML text, with fields of the event in braces. Their values are escaped.
    #[serde(default)]
    #[schema(max_length = 16_384)]
    pub html: Option<String>,
    /// Address for unsubscribing: an https or a mailto address, with fields of the event in braces.
    /// It is sent as `List-Unsubscribe`.
    #[serde(default)]
    #[schema(max_length = 2_048)]
    pub unsubscribe: Option<String>,
    /// Encryption of the connection.
    #[serde(default)]
    #[schema(inline, default = "starttls")]
    pub tls: SmtpSecurity,
    /// The user to log in as. If left out, Waybill does not log in.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 320)]
    pub username: Option<String>,
    /// The user's password.
    #[serde(default)]
    #[schema(write_only, min_length = 1, max_length = 1_024)]
    pub password: Option<String>,
}

impl EmailSettings {
    /// Returns the faults that the schema does not find.
    pub fn check(&self, rules: &ChannelsSection) -> Vec<InputFault> {
        let mut faults = check_templates(&[
            ("subject", self.subject.as_deref()),
            ("text", self.text.as_deref()),
            ("html", self.html.as_deref()),
            ("unsubscribe", self.unsubscribe.as_deref()),
        ]);
        let mailbox =
            |place: &str, text: &str| check_mailbox(text).map(|why| InputFault::new(place, why));
        faults.extend(mailbox("from", &self.from));
        faults.extend(self.reply_to.as_deref().and_then(|text| mailbox("reply_to", text)));
        for (name, list) in [("to", &self.to), ("cc", &self.cc), ("bcc", &self.bcc)] {
            let fault = |(n, text): (usize, &String)| {
                Some(InputFault::new(format!("{name}[{n}]"), check_recipient(text)?))
            };
            faults.extend(list.iter().enumerate().filter_map(fault));
        }
        faults.extend(self.unsubscribe.as_deref().and_then(check_unsubscribe));
        if self.username.is_some() != self.password.is_some() {
            let (missing, given) = match self.username {
                Some(_) => ("password", "username"),
                None => ("username", "password"),
            };
            faults.push(InputFault::new(
                missing,
                format!("goes with `{given}`: set both or neither"),
            ));
        }
        if self.tls == SmtpSecurity::None && !rules.smtp_without_tls {
            let message =
                "the server's configuration does not permit it: `channels.smtp_without_tls`";
            faults.push(InputFault::new("tls", message));
        }
        faults
    }
}

fn check_mailbox(text: &str) -> Option<String> {
    let why = text.parse::<Mailbox>().err()?;
    Some(format!("write an address such as `Books <books@example.com>`: {why}"))
}

/// Checks a recipient. A template with fields of the event can only be checked when there is an
/// event.
fn check_recipient(text: &str) -> Option<String> {
    match TextTemplate::read(text) {
        Err(why) => Some(why),
        Ok(template) if template.has_members() => None,
        Ok(_) => check_mailbox(text),
    }
}

fn check_unsubscribe(text: &str) -> Option<InputFault> {
    let begins = text.starts_with("https://") || text.starts_with("mailto:");
    let is_clean = text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '<' | '>'));
    let message = "write an https:// or a mailto: address, without spaces and angle brackets";
    (!begins || !is_clean).then(|| InputFault::new("unsubscribe", message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn faults(settings: Value, smtp_without_tls: bool) -> Vec<String> {
        let settings: EmailSettings = serde_json::from_value(settings).unwrap();
        let faults =
            settings.check(&ChannelsSection { smtp_without_tls, ..ChannelsSection::default() });
        faults.into_iter().map(|fault| fault.path).collect()
    }

    #[test]
    fn a_sender_and_a_recipient_are_enough() {
        let least = json!({"from": "a@h.example", "to": ["{data.email}", "B <b@h.example>"]});
        assert_eq!(faults(least, false), [""; 0]);
    }

    #[test]
    fn each_fault_has_its_place() {
        let wrong = json!({
            "from": "nobody", "to": ["b@h.example", "x y"], "cc": ["{nothing}"], "reply_to": "z",
            "subject": "{", "unsubscribe": "http://h.example", "tls": "none", "username": "u",
        });
        let mut found = faults(wrong, false);
        found.sort();
        let places =
            ["cc[0]", "from", "password", "reply_to", "subject", "tls", "to[1]", "unsubscribe"];
        assert_eq!(found, places);
        let plain = json!({"from": "a@h.example", "to": ["b@h.example"], "tls": "none"});
        assert_eq!(faults(plain, true), [""; 0]);
    }
}
