//! Connections for questions to the capture log. Each question has one to itself, so that a slow
//! answer holds up no other question.

use super::log_servers::LogServers;
use crate::channels::nats_channel::jetstream_api::{ApiRefusal, ask_api};
use crate::channels::nats_channel::nats_line::NatsLine;
use crate::channels::publish::PublishError;
use crate::net::http_client::DeliveryClient;
use serde_json::Value;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Most questions at the same time. Further ones wait.
const LINES: usize = 8;
/// Most connections that are kept for later questions.
const KEPT: usize = 2;

/// The connections for questions.
pub struct QuestionLines {
    /// Connections that no question uses, with the number of their server.
    idle: Mutex<Vec<(usize, NatsLine)>>,
    places: Semaphore,
}

impl Default for QuestionLines {
    fn default() -> Self {
        Self { idle: Mutex::default(), places: Semaphore::new(LINES) }
    }
}

impl std::fmt::Debug for QuestionLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuestionLines").finish_non_exhaustive()
    }
}

impl QuestionLines {
    /// Asks the server that is used, and leaves it if it does not answer within `limit`. It may
    /// accept connections and be cut off from the others.
    pub async fn ask(
        &self,
        (servers, client): (&LogServers, &DeliveryClient),
        (what, body): (&str, &[u8]),
        (max_message, limit): (usize, Duration),
    ) -> Result<Result<Value, ApiRefusal>, PublishError> {
        let closed = |_| PublishError::refused("the log is closed");
        let _place = self.places.acquire().await.map_err(closed)?;
        let server = servers.current();
        if let Some(mut line) = self.take(server)
            && let Ok(answer) = ask_api(&mut line, what, body, limit).await
        {
            self.keep(server, line);
            return Ok(answer);
        }
        // A connection that was kept may have ended meanwhile.
        let mut line = servers.open_line(client, max_message).await?;
        let asked = ask_api(&mut line, what, body, limit).await;
        match &asked {
            Ok(_) => self.keep(server, line),
            Err(_) => servers.leave(server),
        }
        asked
    }

    /// Returns a connection to this server, and closes those to others.
    fn take(&self, server: usize) -> Option<NatsLine> {
        let mut idle = self.lock();
        idle.retain(|(other, _)| *other == server);
        idle.pop().map(|(_, line)| line)
    }

    fn keep(&self, server: usize, line: NatsLine) {
        let mut idle = self.lock();
        if idle.len() < KEPT {
            idle.push((server, line));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(usize, NatsLine)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
