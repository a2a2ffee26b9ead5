//! Writes the deliveries of one endpoint, each in a transaction of its own.

use super::SqlTls;
use super::database_route::DatabaseRoute;
use super::mysql_writer::MysqlWriter;
use super::postgres_writer::PostgresWriter;
use super::write_plan::{SqlEngine, WritePlan};
use crate::channels::delivery_channel::{ChannelCall, ChannelReply, DeliveryChannel};
use crate::channels::event_value::{EventPlace, EventValue};
use crate::channels::pipe::ServerPlace;
use crate::channels::publish::{AttemptTime, PublishError, PublishOutcome, make_publish_attempt};
use crate::channels::setting_secret::SettingSecret;
use crate::model::envelope::{EnvelopeMessage, RenderedBody};
use crate::net::error_class::ErrorClass;
use crate::net::http_client::DeliveryClient;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// Longest time from opening a connection until it can be written to.
const GREETING: Duration = Duration::from_secs(10);
/// Most idle connections of one endpoint that are kept open.
const IDLE: usize = 16;

/// The address of a database, and how to log in there.
#[derive(Debug)]
pub struct DatabaseLogin {
    pub place: ServerPlace,
    pub user: String,
    pub password: SettingSecret,
    pub tls: SqlTls,
    pub ca: Option<String>,
}

/// The result of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommittedRow {
    /// The number of rows that were written.
    pub rows: u64,
    /// Whether an earlier attempt had already committed the delivery.
    pub is_repeat: bool,
}

/// The reason why a write failed. As far as is known, nothing was committed.
#[derive(Debug)]
pub struct WriteFailure {
    pub outcome: PublishOutcome,
    /// Whether the connection cannot be used any more.
    pub is_lost: bool,
}

impl WriteFailure {
    /// Converts the failure of a log-in: another attempt may succeed.
    pub fn into_error(self) -> PublishError {
        match self.outcome {
            PublishOutcome::TryAgain(why) => why,
            PublishOutcome::Dead(why) | PublishOutcome::Delivered { answer: why } => {
                PublishError::refused(why)
            }
        }
    }
}

/// Writes the deliveries of one endpoint.
#[derive(Debug)]
pub struct SqlPublisher {
    engine: SqlEngine,
    login: DatabaseLogin,
    plan: WritePlan,
    columns: BTreeMap<String, EventPlace>,
    idle: Mutex<Vec<SqlWriter>>,
}

/// A connection to either kind of server.
#[derive(Debug)]
enum SqlWriter {
    Postgres(PostgresWriter),
    Mysql(MysqlWriter),
}

impl DeliveryChannel for SqlPublisher {
    fn deliver<'a>(&'a self, call: ChannelCall<'a>) -> BoxFuture<'a, Option<ChannelReply>> {
        Box::pin(async move {
            let ChannelCall { client, message, timeout, withdrawn, .. } = call;
            let time = AttemptTime { limit: timeout, withdrawn };
            let shown = vec![
                ("statement", self.plan.write.clone()),
                ("delivery_id", message.delivery_id.to_owned()),
            ];
            let opening = self.take_or_connect(client);
            let reply = make_publish_attempt(time, opening, |(writer, was_idle)| {
                self.publish(client, writer, was_idle, &message)
            });
            Some(reply.await?.with_request(shown))
        })
    }

    fn preview(
        &self,
        message: &EnvelopeMessage<'_>,
        _body: Option<RenderedBody>,
    ) -> Result<RenderedBody, String> {
        let body = self.row_json(message).into_bytes();
        Ok(RenderedBody { body, content_type: "application/json".into(), headers: Vec::new() })
    }
}

impl SqlPublisher {
    /// Returns a publisher that connects at its first delivery.
    pub fn new(
        engine: SqlEngine,
        login: DatabaseLogin,
        plan: WritePlan,
        columns: BTreeMap<String, EventPlace>,
    ) -> Self {
        Self { engine, login, plan, columns, idle: Mutex::default() }
    }

    /// Returns an idle connection or a new one, and whether it was idle.
    async fn take_or_connect(
        &self,
        client: &DeliveryClient,
    ) -> Result<(SqlWriter, bool), PublishError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(writer) => Ok((writer, true)),
            None => Ok((self.connect(client).await?, false)),
        }
    }

    async fn connect(&self, client: &DeliveryClient) -> Result<SqlWriter, PublishError> {
        let verifies = self.login.tls == SqlTls::Verify;
        let route = DatabaseRoute::find(client, &self.login.place, verifies).await?;
        let connecting = async {
            Ok(match self.engine {
                SqlEngine::Postgres => SqlWriter::Postgres(
                    PostgresWriter::connect(&self.login, route, &self.plan).await?,
                ),
                SqlEngine::Mysql => {
                    SqlWriter::Mysql(MysqlWriter::connect(&self.login, route, &self.plan).await?)
                }
            })
        };
        let late = "the database did not complete the log-in within 10 s";
        let late = || Err(PublishError::new(ErrorClass::Timeout, late));
        timeout(GREETING, connecting).await.unwrap_or_else(|_| late())
    }

    async fn publish(
        &self,
        client: &DeliveryClient,
        writer: SqlWriter,
        was_idle: bool,
        message: &EnvelopeMessage<'_>,
    ) -> PublishOutcome {
        match self.write(writer, message).await {
            // The connection was closed while it was idle. Writing again is safe, because the inbox
            // detects a repeat.
            Err(WriteFailure { is_lost: true, .. }) if was_idle => {
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
                match self.connect(client).await {
                    Ok(writer) => match self.write(writer, message).await {
                        Ok(committed) => delivered(committed),
                        Err(failure) => failure.outcome,
                    },
                    Err(why) => PublishOutcome::TryAgain(why),
                }
            }
            Ok(committed) => delivered(committed),
            Err(failure) => failure.outcome,
        }
    }

    /// Writes a delivery, and keeps the connection as idle if that succeeded.
    async fn write(
        &self,
        mut writer: SqlWriter,
        message: &EnvelopeMessage<'_>,
    ) -> Result<CommittedRow, WriteFailure> {
        let id = message.delivery_id;
        let written = match &mut writer {
            SqlWriter::Postgres(writer) => {
                writer.write(&self.plan, id, &self.row_json(message)).await
            }
            SqlWriter::Mysql(writer) => {
                let values: Vec<Option<String>> = self
                    .plan
                    .parameters
                    .iter()
                    .map(|name| self.columns.get(name).and_then(|place| mysql_text(place, message)))
                    .collect();
                writer.write(&self.plan, id, &values).await
            }
        };
        if written.is_ok() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE {
                idle.push(writer);
            }
        }
        written
    }

    /// Returns the values of a row as a JSON object.
    fn row_json(&self, message: &EnvelopeMessage<'_>) -> String {
        let member = |(name, place): (&String, &EventPlace)| {
            let name = serde_json::Value::from(name.as_str());
            format!("{name}:{}", place.find(message).to_json())
        };
        format!("{{{}}}", self.columns.iter().map(member).collect::<Vec<String>>().join(","))
    }
}

fn delivered(committed: CommittedRow) -> PublishOutcome {
    if committed.is_repeat {
        return PublishOutcome::delivered("an earlier attempt had already committed it");
    }
    PublishOutcome::delivered(format!("committed; rows: {}", committed.rows))
}

/// Returns a value for MySQL, which accepts neither `true` as a number nor `T` and `Z` in a time.
fn mysql_text(place: &EventPlace, message: &EnvelopeMessage<'_>) -> Option<String> {
    match (place, place.find(message)) {
        (EventPlace::Time, EventValue::Text(time)) => {
            Some(time.replacen('T', " ", 1).trim_end_matches('Z').to_owned())
        }
        (_, EventValue::Literal(literal)) if literal == "true" => Some("1".to_owned()),
        (_, EventValue::Literal(literal)) if literal == "false" => Some("0".to_owned()),
        (_, value) => value.into_text(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mysql_gets_times_and_booleans_in_its_own_form() {
        let message = EnvelopeMessage {
            timestamp: "2026-01-02T03:04:05.678Z",
            data: r#"{"paid": true, "total": 10.10}"#,
            ..EnvelopeMessage::default()
        };
        let text = |place: &str| mysql_text(&EventPlace::parse(place).unwrap(), &message);
        assert_eq!(text("time").as_deref(), Some("2026-01-02 03:04:05.678"));
        assert_eq!(text("data.paid").as_deref(), Some("1"));
        assert_eq!(text("data.total").as_deref(), Some("10.10"));
        assert_eq!(text("data.none"), None);
    }
}
