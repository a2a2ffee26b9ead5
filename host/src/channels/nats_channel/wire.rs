//! NATS's protocol, as far as a publisher needs it (docs.nats.io, "Client Protocol").

use super::super::publish::PublishError;
use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Deserialize;

/// Longest line of the protocol, in bytes. Only `INFO` of a large cluster comes near.
const MAX_LINE: usize = 64 * 1024;

/// What a server says of itself when a connection begins.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ServerInfo {
    /// The most bytes of a message, headers included.
    pub max_payload: usize,
    /// Whether it speaks only over TLS.
    pub tls_required: bool,
    /// Whether it can speak over TLS.
    pub tls_available: bool,
    /// Whether messages may have headers.
    pub headers: bool,
    /// What a key signs.
    pub nonce: Option<String>,
}

/// What a server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerFrame {
    /// What the server says of itself, as JSON.
    Info(String),
    /// A message on a subject that was subscribed to.
    Message {
        subject: String,
        /// The status of its headers, such as 503; `None` without headers.
        status: Option<u16>,
        payload: Bytes,
    },
    Ping,
    Pong,
    /// A refusal, without its quotes.
    Refusal(String),
}

/// Removes one frame from the bytes. Returns `None` until the frame is complete.
pub fn take_frame(bytes: &mut BytesMut) -> Result<Option<ServerFrame>, PublishError> {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        let too_long = bytes.len() > MAX_LINE;
        return if too_long { Err(invalid("a line without an end")) } else { Ok(None) };
    };
    let line = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned();
    let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((&line, ""));
    let frame = match verb.to_ascii_uppercase().as_str() {
        "MSG" | "HMSG" => return take_message(bytes, end + 2, verb.len() == 4, rest),
        "INFO" => ServerFrame::Info(rest.to_owned()),
        "PING" => ServerFrame::Ping,
        // The server says `+OK` only to clients that ask for it.
        "PONG" | "+OK" => ServerFrame::Pong,
        "-ERR" => ServerFrame::Refusal(rest.trim().trim_matches('\'').to_owned()),
        _ => return Err(invalid(&format!("`{verb}` is not a word of NATS"))),
    };
    drop(bytes.split_to(end + 2));
    Ok(Some(frame))
}

/// Removes `MSG subject sid [reply] bytes`, or `HMSG subject sid [reply] headers bytes`.
fn take_message(
    bytes: &mut BytesMut,
    begin: usize,
    has_headers: bool,
    rest: &str,
) -> Result<Option<ServerFrame>, PublishError> {
    let words: Vec<&str> = rest.split_ascii_whitespace().collect();
    let length = |back: usize| {
        let word = words.len().checked_sub(back).and_then(|n| words.get(n));
        word.and_then(|word| word.parse::<usize>().ok()).filter(|length| *length < MAX_LINE * 2)
    };
    let total = length(1).ok_or_else(|| invalid("a message without a length"))?;
    let headers = if has_headers { length(2) } else { Some(0) };
    let headers = headers.filter(|headers| *headers <= total);
    let headers = headers.ok_or_else(|| invalid("headers without a length"))?;
    let subject = words.first().copied().unwrap_or_default().to_owned();
    if bytes.len() < begin + total + 2 {
        return Ok(None);
    }
    drop(bytes.split_to(begin));
    let head = bytes.split_to(headers);
    let payload = bytes.split_to(total - headers).freeze();
    drop(bytes.split_to(2));
    Ok(Some(ServerFrame::Message { subject, status: header_status(&head), payload }))
}

/// Reads the status of `NATS/1.0 503 No Responders`.
fn header_status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    line.strip_prefix("NATS/1.0")?.split_ascii_whitespace().next()?.parse().ok()
}

fn invalid(why: &str) -> PublishError {
    PublishError::protocol(format!("the server does not speak NATS as expected: {why}"))
}

/// A message as it is sent.
#[derive(Debug, Clone)]
pub struct PublishFrame {
    pub bytes: Bytes,
    /// What counts against `max_payload`: headers and body.
    pub counted: usize,
}

/// Writes a message with headers for `subject`, which is answered on `reply`.
pub fn write_publish(
    subject: &str,
    reply: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> PublishFrame {
    let mut head = String::from("NATS/1.0\r\n");
    for (name, value) in headers {
        let clean: String = value.chars().filter(|c| !c.is_control()).collect();
        head.extend([*name, ": ", &clean, "\r\n"]);
    }
    head.push_str("\r\n");
    let total = head.len() + body.len();
    let line = format!("HPUB {subject} {reply} {} {total}\r\n", head.len());
    let mut frame = BytesMut::with_capacity(line.len() + total + 2);
    frame.put_slice(line.as_bytes());
    frame.put_slice(head.as_bytes());
    frame.put_slice(body);
    frame.put_slice(b"\r\n");
    PublishFrame { bytes: frame.freeze(), counted: total }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_whole_or_not_yet() {
        let mut bytes = BytesMut::new();
        let sent = b"INFO {\"max_payload\":1}\r\nPING\r\nMSG _INBOX.a.1 1 5\r\nhello\r\n\
            HMSG _INBOX.a.2 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n-ERR 'No'\r\n";
        let mut frames = Vec::new();
        for byte in sent {
            bytes.put_u8(*byte);
            frames.extend(take_frame(&mut bytes).unwrap());
        }
        let message = |subject: &str, status, payload: &'static [u8]| ServerFrame::Message {
            subject: subject.to_owned(),
            status,
            payload: Bytes::from_static(payload),
        };
        assert_eq!(
            frames,
            [
                ServerFrame::Info("{\"max_payload\":1}".to_owned()),
                ServerFrame::Ping,
                message("_INBOX.a.1", None, b"hello"),
                message("_INBOX.a.2", Some(503), b""),
                ServerFrame::Refusal("No".to_owned()),
            ]
        );
        assert!(bytes.is_empty());
    }

    #[test]
    fn what_is_no_frame_is_refused_and_bounded() {
        for sent in [
            "HTTP/1.1 400 Bad Request\r\n",
            "MSG a 1 x\r\n",
            "MSG a 1 99999999\r\n",
            "HMSG a 1 9 3\r\n",
        ] {
            assert!(take_frame(&mut BytesMut::from(sent)).is_err(), "{sent}");
        }
        assert!(take_frame(&mut BytesMut::from(&vec![b'x'; MAX_LINE + 1][..])).is_err());
    }

    #[test]
    fn a_message_carries_its_lengths_and_no_value_ends_a_header() {
        let frame = write_publish("a.b", "r.1", &[("Nats-Msg-Id", "dlv_1\r\nX: y")], b"{}");
        let head = "NATS/1.0\r\nNats-Msg-Id: dlv_1X: y\r\n\r\n";
        let expected = format!("HPUB a.b r.1 {} {}\r\n{head}{{}}\r\n", head.len(), head.len() + 2);
        assert_eq!(frame.bytes, expected.as_bytes());
        assert_eq!(frame.counted, head.len() + 2);
    }
}
