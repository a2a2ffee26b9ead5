//! The part of the NATS protocol that publishers and sources need (docs.nats.io, "Client
//! Protocol").

use super::super::publish::PublishError;
use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Deserialize;

/// Longest line of the protocol, in bytes. Only the `INFO` of a large cluster comes near.
const MAX_LINE: usize = 64 * 1024;

/// The server's `INFO` at the beginning of a connection.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ServerInfo {
    /// Largest message, in bytes, including its headers.
    pub max_payload: usize,
    /// Whether the server requires TLS.
    pub tls_required: bool,
    /// Whether the server offers TLS.
    pub tls_available: bool,
    /// Whether messages may have headers.
    pub headers: bool,
    /// The nonce that a key must sign.
    pub nonce: Option<String>,
}

/// A frame from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerFrame {
    /// The server's `INFO`, as JSON.
    Info(String),
    /// A message on a subscribed subject.
    Message(ServerMessage),
    Ping,
    Pong,
    /// The text of an `-ERR`, without its quotes.
    Refusal(String),
}

/// A message on a subject that was subscribed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerMessage {
    pub subject: String,
    /// Subject for an answer, such as the acknowledgement of a message from a stream.
    pub reply: Option<String>,
    /// The block of headers; empty without headers.
    pub head: Bytes,
    pub payload: Bytes,
    /// Bytes of headers and payload that are still to come and will be skipped, because the message
    /// is larger than the reader accepts. Then `head` and `payload` are empty.
    pub left_out: usize,
}

impl ServerMessage {
    /// Returns the status of `NATS/1.0 503 No Responders`.
    pub fn status(&self) -> Option<u16> {
        let line = self.head.split(|byte| *byte == b'\r').next()?;
        let line = std::str::from_utf8(line).ok()?;
        line.strip_prefix("NATS/1.0")?.split_ascii_whitespace().next()?.parse().ok()
    }

    /// Returns the first line of the headers without `NATS/1.0`, such as `409 Consumer Deleted`.
    pub fn status_text(&self) -> String {
        let line = self.head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        line.strip_prefix("NATS/1.0").unwrap_or_default().trim().to_owned()
    }
}

/// Returns the headers of a block, in order. Bytes that are not UTF-8 are replaced.
pub fn read_headers(head: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(head);
    let lines = text.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}

/// The handling of a message that is larger than the reader accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OversizePolicy {
    /// Refuse any message that is longer than an acknowledgement.
    Refuse,
    /// Return a message of more bytes than this without its content. The reader then skips
    /// [`ServerMessage::left_out`] bytes and a line break.
    LeaveOut(usize),
}

/// Removes one frame from the bytes. Returns `None` until the frame is complete.
pub fn take_frame(
    bytes: &mut BytesMut,
    oversize: OversizePolicy,
) -> Result<Option<ServerFrame>, PublishError> {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        let too_long = bytes.len() > MAX_LINE;
        return if too_long { Err(invalid("a line without an end")) } else { Ok(None) };
    };
    let line = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned();
    let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((&line, ""));
    let frame = match verb.to_ascii_uppercase().as_str() {
        "MSG" | "HMSG" => return take_message(bytes, end + 2, verb.len() == 4, rest, oversize),
        "INFO" => ServerFrame::Info(rest.to_owned()),
        "PING" => ServerFrame::Ping,
        // The server sends `+OK` only to clients that request it.
        "PONG" | "+OK" => ServerFrame::Pong,
        "-ERR" => ServerFrame::Refusal(rest.trim().trim_matches('\'').to_owned()),
        _ => return Err(invalid(&format!("`{verb}` is not a verb of NATS"))),
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
    oversize: OversizePolicy,
) -> Result<Option<ServerFrame>, PublishError> {
    let words: Vec<&str> = rest.split_ascii_whitespace().collect();
    let length = |back: usize| {
        let word = words.len().checked_sub(back).and_then(|n| words.get(n));
        word.and_then(|word| word.parse::<usize>().ok())
    };
    let most = match oversize {
        OversizePolicy::Refuse => MAX_LINE * 2,
        OversizePolicy::LeaveOut(most) => most,
    };
    let total = length(1).filter(|total| *total < most || oversize != OversizePolicy::Refuse);
    let total = total.ok_or_else(|| invalid("a message without a length"))?;
    let headers = if has_headers { length(2) } else { Some(0) };
    let headers = headers.filter(|headers| *headers <= total);
    let headers = headers.ok_or_else(|| invalid("headers without a length"))?;
    let lengths = if has_headers { 2 } else { 1 };
    let reply = words.get(2).filter(|_| words.len() == 3 + lengths);
    let mut message = ServerMessage {
        subject: words.first().copied().unwrap_or_default().to_owned(),
        reply: reply.map(|reply| (*reply).to_owned()),
        head: Bytes::new(),
        payload: Bytes::new(),
        left_out: 0,
    };
    if total > most {
        drop(bytes.split_to(begin));
        message.left_out = total;
        return Ok(Some(ServerFrame::Message(message)));
    }
    if bytes.len() < begin + total + 2 {
        return Ok(None);
    }
    drop(bytes.split_to(begin));
    message.head = bytes.split_to(headers).freeze();
    message.payload = bytes.split_to(total - headers).freeze();
    drop(bytes.split_to(2));
    Ok(Some(ServerFrame::Message(message)))
}

fn invalid(why: &str) -> PublishError {
    PublishError::protocol(format!("the server does not speak NATS as expected: {why}"))
}

/// A message in the format of the protocol.
#[derive(Debug, Clone)]
pub struct PublishFrame {
    pub bytes: Bytes,
    /// The number of bytes that count against `max_payload`: those of the headers and the body.
    pub counted: usize,
}

/// Writes a message with headers to `subject`. The stream answers on `reply`.
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
    fn an_incomplete_frame_is_not_read() {
        let mut bytes = BytesMut::new();
        let sent = b"INFO {\"max_payload\":1}\r\nPING\r\nMSG _INBOX.a.1 1 5\r\nhello\r\n\
            HMSG _INBOX.a.2 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n-ERR 'No'\r\n";
        let mut frames = Vec::new();
        for byte in sent {
            bytes.put_u8(*byte);
            frames.extend(take_frame(&mut bytes, OversizePolicy::Refuse).unwrap());
        }
        let message = |subject: &str, head: &'static [u8], payload: &'static [u8]| {
            ServerFrame::Message(ServerMessage {
                subject: subject.to_owned(),
                reply: None,
                head: Bytes::from_static(head),
                payload: Bytes::from_static(payload),
                left_out: 0,
            })
        };
        assert_eq!(
            frames,
            [
                ServerFrame::Info("{\"max_payload\":1}".to_owned()),
                ServerFrame::Ping,
                message("_INBOX.a.1", b"", b"hello"),
                message("_INBOX.a.2", b"NATS/1.0 503\r\n\r\n", b""),
                ServerFrame::Refusal("No".to_owned()),
            ]
        );
        let ServerFrame::Message(refused) = &frames[3] else { unreachable!() };
        assert_eq!((refused.status(), refused.status_text().as_str()), (Some(503), "503"));
        assert!(bytes.is_empty());
    }

    #[test]
    fn a_message_of_a_stream_has_a_reply_and_headers() {
        let head = "NATS/1.0\r\nNats-Msg-Id: a: b\r\nX:\r\n\r\n";
        let sent =
            format!("HMSG crm.a 1 $JS.ACK.1 {0} {1}\r\n{head}{{}}\r\n", head.len(), head.len() + 2);
        let frame =
            take_frame(&mut BytesMut::from(sent.as_str()), OversizePolicy::LeaveOut(100)).unwrap();
        let Some(ServerFrame::Message(message)) = frame else { panic!("{frame:?}") };
        assert_eq!(message.reply.as_deref(), Some("$JS.ACK.1"));
        assert_eq!((message.status(), &*message.payload), (None, &b"{}"[..]));
        let headers = [("Nats-Msg-Id", "a: b"), ("X", "")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read_headers(&message.head), headers);
    }

    #[test]
    fn a_message_that_is_too_large_is_given_without_its_content() {
        let mut bytes = BytesMut::from("MSG crm.a 1 $JS.ACK.1 101\r\nxx");
        let frame = take_frame(&mut bytes, OversizePolicy::LeaveOut(100)).unwrap();
        let Some(ServerFrame::Message(message)) = frame else { panic!("{frame:?}") };
        assert_eq!((message.left_out, message.reply.as_deref()), (101, Some("$JS.ACK.1")));
        assert_eq!(&*bytes, b"xx");
    }

    #[test]
    fn invalid_frames_are_refused_and_bounded() {
        for sent in [
            "HTTP/1.1 400 Bad Request\r\n",
            "MSG a 1 x\r\n",
            "MSG a 1 99999999\r\n",
            "HMSG a 1 9 3\r\n",
        ] {
            let refused = take_frame(&mut BytesMut::from(sent), OversizePolicy::Refuse);
            assert!(refused.is_err(), "{sent}");
        }
        let endless = vec![b'x'; MAX_LINE + 1];
        assert!(take_frame(&mut BytesMut::from(&endless[..]), OversizePolicy::Refuse).is_err());
    }

    #[test]
    fn a_message_carries_its_lengths_and_no_value_can_end_a_header() {
        let frame = write_publish("a.b", "r.1", &[("Nats-Msg-Id", "dlv_1\r\nX: y")], b"{}");
        let head = "NATS/1.0\r\nNats-Msg-Id: dlv_1X: y\r\n\r\n";
        let expected = format!("HPUB a.b r.1 {} {}\r\n{head}{{}}\r\n", head.len(), head.len() + 2);
        assert_eq!(frame.bytes, expected.as_bytes());
        assert_eq!(frame.counted, head.len() + 2);
    }
}
