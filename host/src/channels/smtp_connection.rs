//! Connections to one SMTP server.
//!
//! `lettre` speaks SMTP. The connection is dialled here, so that it goes only to allowed addresses
//! and trusts the same certificates as other deliveries. STARTTLS is negotiated before `lettre`
//! gets the connection, because `lettre` itself cannot verify certificates as deliveries do.

use super::email_settings::SmtpSecurity;
use crate::net::error_class::ErrorClass;
use crate::net::http_client::{DeliveryClient, SendError};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::extension::ClientId;
use std::error::Error as _;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Most idle connections that are kept for the next message.
const MOST_KEPT: usize = 4;
/// Time for which an idle connection is kept. Servers close theirs after five minutes (RFC 5321,
/// section 4.5.3.2.7), and many after less than one.
const KEPT_FOR: Duration = Duration::from_secs(20);
/// Longest reply before TLS, in bytes.
const MAX_REPLY: usize = 8_192;

/// The mail server, and how to log in there.
pub struct SmtpPlace {
    pub host: String,
    pub port: u16,
    pub security: SmtpSecurity,
    pub credentials: Option<Credentials>,
    /// The name in `EHLO`.
    pub hello: ClientId,
}

/// The reason why a message was not sent.
#[derive(Debug)]
pub struct SmtpFailure {
    pub class: ErrorClass,
    /// The code of the server's answer, if it answered.
    pub code: Option<u16>,
    /// The server's answer, if it answered.
    pub answer: Option<String>,
    /// The failure in a sentence.
    pub detail: String,
}

impl SmtpFailure {
    /// Classifies a failure before the message was sent. The operator can correct it, whatever the
    /// code.
    fn of_connection(error: &SmtpError) -> Self {
        let failure = Self::of_message(error);
        if failure.class == ErrorClass::Rejected {
            return Self { class: ErrorClass::Deferred, ..failure };
        }
        failure
    }

    /// Classifies a failure of the message itself.
    pub fn of_message(error: &SmtpError) -> Self {
        let code = error.status().map(u16::from);
        let class = match code {
            // The server requires a log-in (RFC 4954, section 6) or is closing, so the message
            // itself is not at fault.
            Some(530 | 534 | 535 | 538) => ErrorClass::Deferred,
            Some(500..) => ErrorClass::Rejected,
            Some(_) => ErrorClass::Deferred,
            None if error.is_client() => ErrorClass::Rejected,
            None if error.is_response() => ErrorClass::Protocol,
            None => ErrorClass::ConnectionLost,
        };
        let answer = code.and_then(|_| error.source().map(ToString::to_string));
        Self { class, code, answer, detail: error.to_string() }
    }

    fn protocol(detail: impl Into<String>) -> Self {
        Self { class: ErrorClass::Protocol, code: None, answer: None, detail: detail.into() }
    }
}

impl From<SendError> for SmtpFailure {
    fn from(error: SendError) -> Self {
        Self { class: error.class, code: None, answer: None, detail: error.detail }
    }
}

/// The idle connections to one server.
pub struct SmtpPool {
    place: SmtpPlace,
    kept: Mutex<Vec<(AsyncSmtpConnection, Instant)>>,
}

impl fmt::Debug for SmtpPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SmtpPlace { host, port, .. } = &self.place;
        f.debug_struct("SmtpPool").field("host", host).field("port", port).finish_non_exhaustive()
    }
}

impl SmtpPool {
    pub const fn new(place: SmtpPlace) -> Self {
        Self { place, kept: Mutex::new(Vec::new()) }
    }

    /// Returns a connection that is ready for a message: an idle one that still answers, or a new
    /// one.
    pub async fn take_connection(
        &self,
        client: &DeliveryClient,
    ) -> Result<AsyncSmtpConnection, SmtpFailure> {
        while let Some(mut connection) = self.take_kept() {
            if connection.test_connected().await {
                return Ok(connection);
            }
        }
        connect(client, &self.place).await
    }

    fn take_kept(&self) -> Option<AsyncSmtpConnection> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(_, since)| since.elapsed() < KEPT_FOR);
        kept.pop().map(|(connection, _)| connection)
    }

    /// Keeps a connection for the next message.
    pub fn keep_connection(&self, connection: AsyncSmtpConnection) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(_, since)| since.elapsed() < KEPT_FOR);
        if kept.len() < MOST_KEPT && !connection.has_broken() {
            kept.push((connection, Instant::now()));
        }
    }
}

async fn connect(
    client: &DeliveryClient,
    place: &SmtpPlace,
) -> Result<AsyncSmtpConnection, SmtpFailure> {
    let mut tcp = client.dial(&place.host, place.port).await?;
    let stream: Box<dyn AsyncTokioStream> = match place.security {
        SmtpSecurity::None => Box::new(tcp),
        SmtpSecurity::Tls => {
            let inner = client.start_tls(tcp, &place.host).await?;
            Box::new(GreetedStream { greeting: b"", inner })
        }
        SmtpSecurity::Starttls => {
            ask_for_tls(&mut tcp, &place.hello).await?;
            let inner = client.start_tls(tcp, &place.host).await?;
            Box::new(GreetedStream { greeting: b"220 TLS\r\n", inner })
        }
    };
    let connecting = AsyncSmtpConnection::connect_with_transport(stream, &place.hello);
    let mut connection = connecting.await.map_err(|error| SmtpFailure::of_connection(&error))?;
    if let Some(credentials) = &place.credentials {
        let mechanisms = [Mechanism::Plain, Mechanism::Login];
        let login = connection.auth(&mechanisms, credentials).await;
        login.map_err(|error| SmtpFailure::of_connection(&error))?;
    }
    Ok(connection)
}

/// Negotiates STARTTLS up to the TLS handshake (RFC 3207).
async fn ask_for_tls(tcp: &mut TcpStream, hello: &ClientId) -> Result<(), SmtpFailure> {
    read_reply(tcp, "220").await?;
    write_line(tcp, &format!("EHLO {hello}\r\n")).await?;
    let offers = read_reply(tcp, "250").await?;
    let offers_tls = offers.lines().filter_map(|line| line.get(4..));
    if !offers_tls.into_iter().any(|offer| offer.trim().eq_ignore_ascii_case("STARTTLS")) {
        let detail = "the server does not offer STARTTLS; set `tls` to `tls` if it expects TLS from the start";
        return Err(SmtpFailure { class: ErrorClass::Tls, ..SmtpFailure::protocol(detail) });
    }
    write_line(tcp, "STARTTLS\r\n").await?;
    read_reply(tcp, "220").await.map(drop)
}

async fn write_line(tcp: &mut TcpStream, line: &str) -> Result<(), SmtpFailure> {
    tcp.write_all(line.as_bytes()).await.map_err(|error| lost(&error))
}

fn lost(error: &io::Error) -> SmtpFailure {
    let detail = format!("the connection broke before TLS began: {error}");
    SmtpFailure { class: ErrorClass::ConnectionLost, ..SmtpFailure::protocol(detail) }
}

/// Reads one reply with this code. Bytes after the reply are refused: they arrived in plain text
/// and would be read as if TLS had protected them.
async fn read_reply(tcp: &mut TcpStream, code: &str) -> Result<String, SmtpFailure> {
    let mut reply = Vec::new();
    loop {
        let read = tcp.read_buf(&mut reply).await.map_err(|error| lost(&error))?;
        if read == 0 {
            return Err(lost(&io::ErrorKind::UnexpectedEof.into()));
        }
        if reply.len() > MAX_REPLY {
            return Err(SmtpFailure::protocol("the server's reply is too long"));
        }
        if let Some(end) = find_end(&reply) {
            if end < reply.len() {
                return Err(SmtpFailure::protocol(
                    "the server sent more than its reply before TLS",
                ));
            }
            break;
        }
    }
    let reply = String::from_utf8_lossy(&reply).into_owned();
    if reply.starts_with(code) {
        return Ok(reply);
    }
    let given = reply.get(..3).and_then(|digits| digits.parse().ok());
    let answer = reply.trim_end().to_owned();
    let detail = format!("the server answered before TLS: {}", answer.replace("\r\n", " "));
    Err(SmtpFailure { class: ErrorClass::Deferred, code: given, answer: Some(answer), detail })
}

/// Returns the length of a complete reply. Its last line has no dash after the code (RFC 5321,
/// section 4.2.1).
fn find_end(reply: &[u8]) -> Option<usize> {
    let mut end = 0;
    for line in reply.split_inclusive(|byte| *byte == b'\n') {
        end += line.len();
        if line.ends_with(b"\n") && line.get(3).is_none_or(|byte| *byte != b'-') {
            return Some(end);
        }
    }
    None
}

/// A TLS connection that begins with a made-up greeting. A server sends none after STARTTLS, but
/// `lettre` waits for one.
#[derive(Debug)]
struct GreetedStream<S> {
    greeting: &'static [u8],
    inner: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for GreetedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.greeting.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buffer);
        }
        let fits = self.greeting.len().min(buffer.remaining());
        let (now, later) = self.greeting.split_at(fits);
        buffer.put_slice(now);
        self.greeting = later;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for GreetedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S> AsyncTokioStream for GreetedStream<S>
where
    S: AsyncRead + AsyncWrite + Send + Sync + Unpin + fmt::Debug,
{
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_ends_with_the_line_that_has_no_dash() {
        for (reply, end) in [
            ("220 ready\r\n", Some(11)),
            ("250-a\r\n250 b\r\n", Some(14)),
            ("250-a\r\n", None),
            ("250 b", None),
            ("220 ready\r\n250 injected\r\n", Some(11)),
        ] {
            assert_eq!(find_end(reply.as_bytes()), end, "{reply:?}");
        }
    }
}
