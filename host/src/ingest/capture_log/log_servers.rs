//! The servers of the capture log. One of them is used until it fails.

use crate::channels::nats_channel::nats_line::NatsLine;
use crate::channels::nats_channel::nats_login::NatsLogin;
use crate::channels::nats_channel::nats_session::NatsSession;
use crate::channels::nats_channel::nkey::NatsCredentials;
use crate::channels::publish::{PublishError, PublishOutcome};
use crate::channels::session::QueueSession;
use crate::channels::setting_secret::SettingSecret;
use crate::config::{CaptureSection, LogAddress};
use crate::net::http_client::DeliveryClient;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

/// Time that a server has to accept a connection.
const LONGEST_CONNECT: Duration = Duration::from_millis(900);

/// The servers, and which of them is used.
#[derive(Debug)]
pub struct LogServers {
    logins: Vec<NatsLogin>,
    /// Counts the changes of the server. The remainder is its place.
    current: Arc<AtomicUsize>,
}

/// A connection for messages. It is given up when another server is to be used.
#[derive(Debug)]
pub struct LogSession {
    session: NatsSession,
    server: usize,
    current: Arc<AtomicUsize>,
}

impl QueueSession for LogSession {
    fn is_open(&self) -> bool {
        self.session.is_open() && self.server == self.current.load(Ordering::Relaxed)
    }
}

impl LogSession {
    /// Publishes a message and waits until the stream acknowledges it.
    pub async fn publish(
        &self,
        subject: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> PublishOutcome {
        self.session.publish(subject, headers, body).await
    }
}

impl LogServers {
    /// Reads the address and the credentials. Returns `None` if no log is set.
    pub fn read(settings: &CaptureSection) -> Result<Option<Self>, String> {
        let Some(log) = &settings.log else { return Ok(None) };
        let LogAddress { servers, user, token } = LogAddress::parse(log.expose())?;
        let key = settings.credentials.as_ref().map(|path| {
            let read = std::fs::read_to_string(path);
            read.map_err(|why| format!("capture.credentials {}: {why}", path.display()))
        });
        let key = key.transpose()?;
        let login = |server: &String| -> Result<NatsLogin, String> {
            let credentials = key.as_deref().map(NatsCredentials::read).transpose()?;
            let user =
                user.as_ref().map(|(name, password)| (name.clone(), SettingSecret::new(password)));
            let token = token.as_deref().map(SettingSecret::new);
            Ok(NatsLogin { place: NatsLogin::read_place(server)?, user, token, credentials })
        };
        let logins: Vec<NatsLogin> = servers.iter().map(login).collect::<Result<_, String>>()?;
        Ok(Some(Self { logins, current: Arc::default() }))
    }

    /// Returns which server is used, to leave it if it fails.
    pub fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// Uses the next server, unless another caller has left this one already.
    pub fn leave(&self, server: usize) {
        let next = server.wrapping_add(1);
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        let _is_left = self.current.compare_exchange(server, next, success, failure).is_ok();
    }

    /// Connects to the server that is used, for messages. Leaves it if it does not answer.
    pub async fn connect(&self, client: &DeliveryClient) -> Result<LogSession, PublishError> {
        let server = self.current();
        let connected = timeout(LONGEST_CONNECT, self.login(server)?.connect(client)).await;
        let session = NatsSession::open(self.leave_unless(server, connected)?);
        Ok(LogSession { session, server, current: Arc::clone(&self.current) })
    }

    /// Connects to the server that is used, for questions. Leaves it if it does not answer.
    pub async fn open_line(
        &self,
        client: &DeliveryClient,
        max_message: usize,
    ) -> Result<NatsLine, PublishError> {
        let server = self.current();
        let opening = NatsLine::open(self.login(server)?, client, max_message);
        let connected = timeout(LONGEST_CONNECT, opening).await;
        self.leave_unless(server, connected)
    }

    fn login(&self, server: usize) -> Result<&NatsLogin, PublishError> {
        let place = server.checked_rem(self.logins.len()).unwrap_or_default();
        let login = self.logins.get(place);
        login.ok_or_else(|| PublishError::refused("capture.log names no server"))
    }

    fn leave_unless<T>(
        &self,
        server: usize,
        connected: Result<Result<T, PublishError>, Elapsed>,
    ) -> Result<T, PublishError> {
        let connected = connected.unwrap_or_else(|_elapsed| Err(PublishError::late()));
        if connected.is_err() {
            self.leave(server);
        }
        connected
    }
}
