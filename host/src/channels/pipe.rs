//! A connection to a queue, with one task for each direction. A delivery that is given up therefore
//! never leaves half a frame behind.

use super::publish::PublishError;
use super::session::{OwnedTask, PendingAnswer, PendingAnswers, wait_or_give_up};
use crate::net::http_client::DeliveryClient;
use crate::net::http_url::read_url;
use bytes::{Bytes, BytesMut};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Most frames that wait to be written. Further deliveries wait for room.
const FRAMES: usize = 64;
/// Longest time without a written frame before a sign of life is sent. Brokers and firewalls close
/// connections that are silent for a minute or more.
pub const SILENCE: Duration = Duration::from_secs(20);
/// Longest frame that is accepted from a server, in bytes. Acknowledgements are far smaller.
const MAX_FRAME: usize = 256 * 1024;

/// A connection with or without TLS.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// The address of a server, as the `url` of an endpoint gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPlace {
    /// The host, in brackets if it is an IPv6 address.
    pub host: String,
    pub port: u16,
    /// Whether the connection is encrypted.
    pub is_secure: bool,
    /// The decoded path, without the leading `/`.
    pub path: String,
}

impl ServerPlace {
    /// Reads a URL. `secure` is the scheme with TLS and its default port, `plain` the one without
    /// TLS.
    pub fn read(url: &str, secure: (&str, u16), plain: (&str, u16)) -> Result<Self, String> {
        let url = read_url(url, &[secure.0, plain.0])?;
        if url.query().is_some() {
            return Err(
                "only a path may follow the host; everything else belongs in `settings`".to_owned()
            );
        }
        let is_secure = url.scheme() == secure.0;
        let usual = if is_secure { secure.1 } else { plain.1 };
        let path = url.path().trim_start_matches('/');
        let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned();
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or("the URL has no host")?.to_owned();
        Ok(Self { host, port: url.port().unwrap_or(usual), is_secure, path })
    }

    /// Reads a URL that must not have a path.
    pub fn read_bare(url: &str, secure: (&str, u16), plain: (&str, u16)) -> Result<Self, String> {
        let place = Self::read(url, secure, plain)?;
        if place.path.is_empty() {
            Ok(place)
        } else {
            Err("the URL must not have a path".to_owned())
        }
    }

    /// Connects, and encrypts the connection if the URL says so.
    pub async fn connect(
        &self,
        client: &DeliveryClient,
    ) -> Result<Box<dyn ByteStream>, PublishError> {
        let stream = client.dial(&self.host, self.port).await?;
        if self.is_secure {
            Ok(Box::new(client.start_tls(stream, &self.host).await?))
        } else {
            Ok(Box::new(stream))
        }
    }
}

/// Writes frames and reads answers until either direction fails.
#[derive(Debug)]
pub struct SessionPipe {
    frames: FrameSender,
    _tasks: [OwnedTask; 2],
}

/// The queue of frames to be written.
#[derive(Debug, Clone)]
pub struct FrameSender(mpsc::Sender<Bytes>);

impl FrameSender {
    /// Queues a frame if there is room, and drops it otherwise.
    pub fn offer(&self, frame: &'static [u8]) {
        // A full queue means that the other side has not read for a while, so it does not miss this
        // frame.
        drop(self.0.try_send(Bytes::from_static(frame)));
    }
}

impl SessionPipe {
    /// Starts the tasks of a connection. `read` removes whole frames from the bytes it gets. `rest`
    /// holds bytes that were already read. `sign_of_life` is sent after [`SILENCE`]. If either
    /// direction fails, all `answers` end.
    pub fn open<K, A>(
        stream: Box<dyn ByteStream>,
        rest: BytesMut,
        answers: Arc<PendingAnswers<K, A>>,
        sign_of_life: &'static [u8],
        mut read: impl FnMut(&mut BytesMut, &FrameSender) -> Result<(), PublishError> + Send + 'static,
    ) -> Self
    where
        K: Hash + Eq + Send + 'static,
        A: Send + 'static,
    {
        let (reading, writing) = tokio::io::split(stream);
        let (queue, queued) = mpsc::channel(FRAMES);
        let frames = FrameSender(queue);
        let (answer_frames, read_answers) = (frames.clone(), Arc::clone(&answers));
        let reader = OwnedTask::spawn(async move {
            let why = read_frames(reading, rest, |bytes| read(bytes, &answer_frames)).await;
            read_answers.end(&why);
        });
        let writer = OwnedTask::spawn(async move {
            if let Err(why) = write_frames(writing, queued, sign_of_life).await {
                answers.end(&PublishError::lost(why));
            }
        });
        Self { frames, _tasks: [reader, writer] }
    }

    /// Sends a frame and waits for its answer. If the delivery is given up before, all `answers`
    /// end, and the session with them.
    pub async fn send_and_wait<K: Hash + Eq, A>(
        &self,
        frame: Bytes,
        answer: PendingAnswer<A>,
        answers: &PendingAnswers<K, A>,
    ) -> Result<A, PublishError> {
        let ended = || PublishError::lost("the session has ended");
        let answered = async {
            // It waits until the queue has room.
            self.frames.0.send(frame).await.map_err(|_closed| ended())?;
            answer.await.unwrap_or_else(|_| Err(ended()))
        };
        wait_or_give_up(answered, || answers.end(&PublishError::late())).await
    }
}

/// Reads until the connection or a frame fails, and returns the reason.
async fn read_frames(
    mut stream: impl AsyncRead + Unpin,
    mut bytes: BytesMut,
    mut read: impl FnMut(&mut BytesMut) -> Result<(), PublishError>,
) -> PublishError {
    loop {
        if let Err(why) = read(&mut bytes) {
            return why;
        }
        if bytes.len() > MAX_FRAME {
            return PublishError::protocol(
                "the server sent a frame that is longer than any acknowledgement",
            );
        }
        match stream.read_buf(&mut bytes).await {
            Ok(0) => return PublishError::lost("the server closed the connection"),
            Ok(_) => {}
            Err(why) => return PublishError::lost(why),
        }
    }
}

/// Writes all queued frames before it flushes, so that many frames share a system call.
async fn write_frames(
    mut stream: impl AsyncWrite + Unpin,
    mut queued: mpsc::Receiver<Bytes>,
    sign_of_life: &'static [u8],
) -> std::io::Result<()> {
    loop {
        match timeout(SILENCE, queued.recv()).await {
            Ok(Some(frame)) => stream.write_all(&frame).await?,
            Ok(None) => return stream.shutdown().await,
            Err(_) => stream.write_all(sign_of_life).await?,
        }
        while let Ok(frame) = queued.try_recv() {
            stream.write_all(&frame).await?;
        }
        stream.flush().await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECURE: (&str, u16) = ("amqps", 5671);
    const PLAIN: (&str, u16) = ("amqp", 5672);

    #[test]
    fn a_url_names_a_host_a_port_and_a_path() {
        let place = ServerPlace::read("amqps://mq.example/%2Fcrm", SECURE, PLAIN).unwrap();
        assert_eq!((place.host.as_str(), place.port), ("mq.example", 5671));
        assert!(place.is_secure);
        assert_eq!(place.path, "/crm");
        let place = ServerPlace::read_bare("amqp://[::1]:1234", SECURE, PLAIN).unwrap();
        assert_eq!((place.host.as_str(), place.port), ("[::1]", 1234));
        assert!(!place.is_secure);
        for url in ["amqp://h/x", "amqp://h?frame_max=1", "http://h", "amqp://", "amqp://u:p@h"] {
            assert!(ServerPlace::read_bare(url, SECURE, PLAIN).is_err(), "{url}");
        }
    }
}
