//! Writes events as e-mail messages.

use super::email_settings::EmailSettings;
use super::event_digest::{DigestTexts, EventDigest, changes_of, subject_of};
use crate::expression::event_subject::EventSubject;
use crate::expression::text_template::{TextTemplate, cut_text};
use crate::model::envelope::EnvelopeMessage;
use crate::time::timestamp::Timestamp;
use lettre::Message;
use lettre::address::{Address, Envelope};
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder, MultiPart, SinglePart};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// Longest subject, in characters.
const MAX_SUBJECT: usize = 250;
/// Longest text, and longest HTML, in characters.
const MAX_BODY: usize = 100_000;

/// Writes the messages of one endpoint.
#[derive(Debug)]
pub struct EmailWriter {
    from: Mailbox,
    reply_to: Option<Mailbox>,
    to: Vec<TextTemplate>,
    cc: Vec<TextTemplate>,
    bcc: Vec<TextTemplate>,
    digest: DigestTexts,
    text: Option<TextTemplate>,
    html: Option<TextTemplate>,
    unsubscribe: Option<TextTemplate>,
}

/// A message that is ready to be sent.
#[derive(Debug)]
pub struct WrittenEmail {
    pub envelope: Envelope,
    /// The message with its headers, in the format of RFC 5322.
    pub message: Vec<u8>,
    id: String,
    subject: String,
}

impl WrittenEmail {
    /// Returns the message as the trace shows it.
    pub fn shown(&self) -> Vec<(&'static str, String)> {
        let recipients: Vec<&str> = self.envelope.to().iter().map(AsRef::as_ref).collect();
        vec![
            ("message-id", self.id.clone()),
            ("subject", self.subject.clone()),
            ("recipients", recipients.join(", ")),
            ("bytes", self.message.len().to_string()),
        ]
    }
}

impl EmailWriter {
    /// Reads the templates of an endpoint's settings.
    pub fn open(settings: &EmailSettings) -> Result<Self, String> {
        let mailbox =
            |text: &str| text.parse::<Mailbox>().map_err(|why| format!("`{text}`: {why}"));
        let list = |texts: &[String]| -> Result<Vec<TextTemplate>, String> {
            texts.iter().map(|text| TextTemplate::read(text)).collect()
        };
        let read = |text: &Option<String>| text.as_deref().map(TextTemplate::read).transpose();
        Ok(Self {
            from: mailbox(&settings.from)?,
            reply_to: settings.reply_to.as_deref().map(mailbox).transpose()?,
            to: list(&settings.to)?,
            cc: list(&settings.cc)?,
            bcc: list(&settings.bcc)?,
            digest: DigestTexts::read(settings.subject.as_deref(), None, true)?,
            text: read(&settings.text)?,
            html: read(&settings.html)?,
            unsubscribe: read(&settings.unsubscribe)?,
        })
    }

    /// Returns the domain of the sender's address.
    pub fn domain(&self) -> &str {
        self.from.email.domain()
    }

    /// Writes the message about an event. The error says why no message can be written.
    pub fn write(
        &self,
        message: &EnvelopeMessage<'_>,
        at: Timestamp,
    ) -> Result<WrittenEmail, String> {
        let changes = changes_of(message);
        let subject = subject_of(message, changes.as_deref());
        let digest = EventDigest::new(&self.digest, message);
        let id = format!("<{}@{}>", message.delivery_id, self.domain());
        let title = cut_text(&on_one_line(&digest.title), MAX_SUBJECT);
        let since_epoch = Duration::from_micros(u64::try_from(at.micros()).unwrap_or_default());
        let mut builder = Message::builder()
            .from(self.from.clone())
            .date(SystemTime::UNIX_EPOCH + since_epoch)
            .message_id(Some(id.clone()))
            .subject(title.clone())
            // Tells mail servers and mailboxes not to send automatic replies (RFC 3834, section 5).
            .raw_header(header("Auto-Submitted", "auto-generated".to_owned()));
        if let Some(reply_to) = &self.reply_to {
            builder = builder.reply_to(reply_to.clone());
        }
        builder = self.add_recipients(builder, &subject)?;
        builder = self.add_unsubscribe(builder, &subject);
        let written = self.add_body(builder, &subject, &digest)?;
        let (envelope, message) = (written.envelope().clone(), written.formatted());
        Ok(WrittenEmail { envelope, message, id, subject: title })
    }

    fn add_recipients(
        &self,
        mut builder: MessageBuilder,
        subject: &EventSubject<'_>,
    ) -> Result<MessageBuilder, String> {
        for template in &self.to {
            builder = builder.to(recipient(template, subject)?);
        }
        for template in &self.cc {
            builder = builder.cc(recipient(template, subject)?);
        }
        for template in &self.bcc {
            builder = builder.bcc(recipient(template, subject)?);
        }
        Ok(builder)
    }

    fn add_unsubscribe(
        &self,
        builder: MessageBuilder,
        subject: &EventSubject<'_>,
    ) -> MessageBuilder {
        let Some(template) = &self.unsubscribe else { return builder };
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let address = template.render(subject, encode);
        // One-click unsubscription requires https (RFC 8058, section 3.1).
        let has_one_click = address.starts_with("https://");
        let builder = builder.raw_header(header("List-Unsubscribe", format!("<{address}>")));
        if !has_one_click {
            return builder;
        }
        builder.raw_header(header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()))
    }

    fn add_body(
        &self,
        builder: MessageBuilder,
        subject: &EventSubject<'_>,
        digest: &EventDigest,
    ) -> Result<Message, String> {
        let text = self.text.as_ref().map(|template| template.render(subject, str::to_owned));
        let html = self.html.as_ref().map(|template| template.render(subject, escape_html));
        let cut = |text: String| cut_text(&text, MAX_BODY);
        let written = match (text, html) {
            (Some(text), None) => builder.singlepart(SinglePart::plain(cut(text))),
            (None, Some(html)) => builder
                .multipart(MultiPart::alternative_plain_html(cut(digest_text(digest)), cut(html))),
            (Some(text), Some(html)) => {
                builder.multipart(MultiPart::alternative_plain_html(cut(text), cut(html)))
            }
            (None, None) => builder.multipart(MultiPart::alternative_plain_html(
                cut(digest_text(digest)),
                cut(digest_html(digest)),
            )),
        };
        written.map_err(|why| format!("the message cannot be written: {why}"))
    }
}

fn header(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value)
}

/// Renders and parses a recipient: an address, or a name followed by an address in angle brackets.
fn recipient(template: &TextTemplate, subject: &EventSubject<'_>) -> Result<Mailbox, String> {
    let text = template.render(subject, clean_address);
    let named =
        text.rsplit_once('<').and_then(|(name, rest)| Some((name, rest.trim().strip_suffix('>')?)));
    let (name, address) = named.unwrap_or(("", &text));
    let address = address.trim().parse::<Address>();
    let address = address.map_err(|why| format!("a recipient is not an address: {why}"))?;
    let name = Some(name.trim().to_owned()).filter(|name| !name.is_empty());
    Ok(Mailbox::new(name, address))
}

/// Replaces the characters that have a meaning in an address (RFC 5322, section 3.2.3), so that a
/// value can neither end an address nor begin another.
fn clean_address(text: &str) -> String {
    let special = |c: char| c.is_control() || "<>()[]\\,;:\"".contains(c);
    text.chars().map(|c| if special(c) { ' ' } else { c }).collect::<String>().trim().to_owned()
}

/// Replaces line breaks and other control characters, because a header is one line.
fn on_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn digest_text(digest: &EventDigest) -> String {
    let mut text = format!("{}\n\n", digest.title);
    for (name, value) in &digest.facts {
        let _always = writeln!(text, "{name}: {value}");
    }
    if digest.has_more {
        text.push_str("…\n");
    }
    let _always = write!(text, "\n-- \n{}\n", digest.footer);
    text
}

fn digest_html(digest: &EventDigest) -> String {
    let mut html = format!("<h2>{}</h2>\n<table>\n", escape_html(&digest.title));
    for (name, value) in &digest.facts {
        let (name, value) = (escape_html(name), escape_html(value));
        let _always = writeln!(html, "<tr><th align=\"left\">{name}</th><td>{value}</td></tr>");
    }
    html.push_str("</table>\n");
    if digest.has_more {
        html.push_str("<p>…</p>\n");
    }
    let _always = writeln!(html, "<p><small>{}</small></p>", escape_html(&digest.footer));
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const AT: Timestamp = Timestamp::from_micros(784_111_777_000_000); // Sun, 06 Nov 1994 08:49:37 GMT

    fn write(settings: Value, data: &Value) -> Result<(WrittenEmail, String), String> {
        let settings: EmailSettings = serde_json::from_value(settings).unwrap();
        let data = data.to_string();
        let message = EnvelopeMessage {
            delivery_id: "dlv_1",
            event_type: "invoice.paid",
            timestamp: "2026-03-01T09:30:00.000Z",
            source: "crm",
            resource: Some("invoice"),
            resource_id: Some("17"),
            data: &data,
            ..EnvelopeMessage::default()
        };
        let email = EmailWriter::open(&settings)?.write(&message, AT)?;
        let text = String::from_utf8(email.message.clone()).unwrap();
        Ok((email, text))
    }

    #[test]
    fn an_email_has_the_id_of_its_delivery_and_both_forms() {
        let settings = json!({"from": "Books <a@h.example>", "to": ["b@h.example"],
            "bcc": ["c@h.example"], "unsubscribe": "https://h.example/u?id={data.n}"});
        let (email, text) = write(settings, &json!({"n": "1&2", "x": "<b>"})).unwrap();
        for line in [
            "Message-ID: <dlv_1@h.example>\r\n",
            "Date: Sun, 06 Nov 1994 08:49:37 +0000\r\n",
            "Subject: invoice.paid: invoice 17\r\n",
            "List-Unsubscribe: <https://h.example/u?id=1%262>\r\n",
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "n: 1&2\r\n",
            "&lt;b&gt;",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("c@h.example"), "nobody sees a hidden recipient");
        assert_eq!(email.envelope.to().len(), 2);
    }

    #[test]
    fn no_event_can_add_a_header_or_a_recipient() {
        let evil = "x\r\nBcc: evil@evil.example\r\n\r\n<evil@evil.example>, evil@evil.example";
        let settings = json!({"from": "a@h.example", "to": ["{data.evil} <b@h.example>"],
            "subject": "About {data.evil}", "text": "t",
            "unsubscribe": "mailto:{data.evil}@h.example"});
        let (email, text) = write(settings, &json!({ "evil": evil })).unwrap();
        assert_eq!(email.envelope.to().len(), 1);
        assert_eq!(email.envelope.to()[0].to_string(), "b@h.example");
        let (head, _) = text.split_once("\r\n\r\n").unwrap();
        for line in head.split("\r\n") {
            assert!(!line.to_ascii_lowercase().starts_with("bcc"), "{head}");
        }
        let whole = json!({"from": "a@h.example", "to": ["{data.evil}"]});
        assert!(write(whole, &json!({ "evil": evil })).is_err());
    }

    #[test]
    fn a_missing_address_is_an_error() {
        let settings = json!({"from": "a@h.example", "to": ["{data.email}"]});
        let why = write(settings, &json!({"email": null})).unwrap_err();
        assert!(why.starts_with("a recipient is not an address"), "{why}");
    }
}
