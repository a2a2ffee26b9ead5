//! The connection on which PostgreSQL delivers the notices of other nodes.

use super::PATIENCE;
use super::postgres_pools::PostgresPools;
use crate::store::StoreError;
use crate::store::error::DatabaseError;
use sqlx::postgres::{PgListener, PgPoolOptions};
use std::io;
use std::time::Duration;
use tokio::time::timeout;

/// Identifies the connection in `pg_stat_activity`.
const APPLICATION: &str = "waybill listener";
/// Time without a notice after which the connection is tested. A connection that a firewall dropped
/// looks like an idle one.
const SILENCE: Duration = Duration::from_secs(30);

/// A separate connection, because listening occupies it for as long as the process runs.
#[derive(Debug)]
pub struct NodeListener(PgListener);

impl NodeListener {
    /// Connects and begins to listen.
    pub async fn open(pools: &PostgresPools, channel: &str) -> Result<Self, StoreError> {
        let options = pools.reader_options();
        // The pool has one connection, which is never replaced: notices would be lost between two.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(PATIENCE)
            .test_before_acquire(false)
            .connect_lazy_with(options.application_name(APPLICATION));
        let opening = async {
            let mut connection = PgListener::connect_with(&pool).await?;
            // The listener must know that notices may have been lost.
            connection.eager_reconnect(false);
            connection.listen(channel).await?;
            Ok(Self(connection))
        };
        // Boxed, as below: sqlx's futures contain everything that connecting needs, 14 KB.
        answer_within(Box::pin(opening)).await
    }

    /// Waits for the next payload. After an error the connection must not be used again.
    pub async fn next_payload(&mut self) -> Result<String, StoreError> {
        loop {
            // After a time-out, received data stays in the connection's buffer.
            match timeout(SILENCE, Box::pin(self.0.try_recv())).await {
                Ok(Ok(Some(told))) => return Ok(told.payload().to_owned()),
                Ok(Ok(None)) => {
                    let lost = io::Error::from(io::ErrorKind::ConnectionAborted);
                    return Err(sqlx::Error::Io(lost).into());
                }
                Ok(Err(error)) => return Err(error.into()),
                Err(_elapsed) => {
                    let ask = sqlx::query("SELECT 1").execute(&mut self.0);
                    answer_within(ask).await?;
                }
            }
        }
    }
}

async fn answer_within<T>(
    asked: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    match timeout(PATIENCE, asked).await {
        Ok(answered) => Ok(answered?),
        Err(_elapsed) => Err(DatabaseError::TooSlow(PATIENCE).into()),
    }
}
