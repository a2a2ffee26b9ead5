//! A connection to PostgreSQL that can only read.
//!
//! Statements contain quoted names, and types from the server's own catalogue. Values are bound.

use super::super::RunFailed;
use super::pace;
use crate::model::database_source::DatabaseSettings;
use futures_util::TryStreamExt as _;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError, PgRow, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use std::io::ErrorKind;
use std::str::FromStr as _;
use std::time::Duration;

/// The time limit for connecting, and the one for a statement. The server cancels a statement after
/// 2 minutes, a little earlier.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(130));
/// The port if the URL has none.
const PORT: u16 = 5432;
/// The settings of the session. Times are returned in UTC.
const SESSION: &str = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY; SET statement_timeout = '2min'; \
    SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex'";
/// Settings that old servers may not have. The first ends a snapshot that a stalled process holds.
/// The second makes it an error if row security hides rows, which would otherwise count as deleted.
const NEWER: [&str; 2] =
    ["SET idle_in_transaction_session_timeout = '1h'", "SET row_security = off"];

/// A connection to PostgreSQL.
#[derive(Debug)]
pub struct PostgresConnection(PgConnection);

/// The rows that a statement returned.
#[derive(Debug, Default)]
pub struct PostgresRows {
    /// The columns of each row, as texts.
    pub rows: Vec<Vec<Option<String>>>,
    /// The size of the rows, in bytes.
    pub bytes: usize,
    /// Whether rows were left out because of the bound on bytes.
    pub is_cut: bool,
}

impl PostgresConnection {
    /// Connects, with a session that can only read.
    pub async fn connect(
        settings: &DatabaseSettings,
        secret: Option<&str>,
    ) -> Result<Self, RunFailed> {
        let options = options(&settings.url, secret)?;
        let db = match tokio::time::timeout(PATIENCE.0, options.connect()).await {
            Ok(Ok(db)) => db,
            Ok(Err(error)) => return Err(failed(&error)),
            Err(_) => {
                return Err(RunFailed::new(
                    "the database did not answer within 10 s; look at `url`",
                ));
            }
        };
        let mut connection = Self(db);
        connection.execute(SESSION).await?;
        for setting in NEWER {
            drop(connection.execute(setting).await);
        }
        Ok(connection)
    }

    /// Runs statements that return no rows.
    pub async fn execute(&mut self, text: &'static str) -> Result<(), RunFailed> {
        match tokio::time::timeout(PATIENCE.1, sqlx::raw_sql(text).execute(&mut self.0)).await {
            Ok(done) => done.map(drop).map_err(|error| failed(&error)),
            Err(_) => Err(too_long()),
        }
    }

    /// Runs a query whose columns are all texts, and returns rows until they have [`pace::BYTES`].
    /// The rest is read and discarded.
    pub async fn select_rows(
        &mut self,
        text: String,
        values: &[Option<&str>],
    ) -> Result<PostgresRows, RunFailed> {
        self.run_query(text, values).await.map_err(|error| failed(&error))
    }

    /// The same, but returns `None` if a value cannot be converted to the type that the statement
    /// needs (SQLSTATE class 22).
    pub async fn select_fitting(
        &mut self,
        text: String,
        values: &[Option<&str>],
    ) -> Result<Option<PostgresRows>, RunFailed> {
        match self.run_query(text, values).await {
            Ok(found) => Ok(Some(found)),
            Err(error) => {
                let code = error.as_database_error().and_then(DatabaseError::code);
                let is_unfit = code.is_some_and(|code| code.starts_with("22"));
                if is_unfit { Ok(None) } else { Err(failed(&error)) }
            }
        }
    }

    async fn run_query(
        &mut self,
        text: String,
        values: &[Option<&str>],
    ) -> sqlx::Result<PostgresRows> {
        let mut query = sqlx::query(AssertSqlSafe(text)).persistent(false);
        for value in values {
            query = query.bind(*value);
        }
        let read = async {
            let mut found = PostgresRows::default();
            let mut rows = query.fetch(&mut self.0);
            while let Some(row) = rows.try_next().await? {
                if found.bytes >= pace::BYTES {
                    found.is_cut = true;
                    continue;
                }
                let row = texts(&row)?;
                found.bytes += row.iter().flatten().map(String::len).sum::<usize>();
                found.rows.push(row);
            }
            Ok(found)
        };
        tokio::time::timeout(PATIENCE.1, read).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }
}

/// Reads the URL. Environment variables such as `PGHOST` must not fill gaps in it, because they may
/// belong to another server.
fn options(url: &str, secret: Option<&str>) -> Result<PgConnectOptions, RunFailed> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|_opaque| RunFailed::new("the source's `url` cannot be read"))?;
    let place = url.rsplit_once('@').map_or(url, |(_, place)| place);
    let address = place.split('/').next().unwrap_or_default();
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let mut options = options.port(port.unwrap_or(PORT)).password(secret.unwrap_or_default());
    if let Some(host) = super::ipv6(address) {
        options = options.host(host);
    }
    let options =
        if url.contains("?sslmode=") { options } else { options.ssl_mode(PgSslMode::Prefer) };
    Ok(options.application_name("waybill").disable_statement_logging())
}

fn texts(row: &PgRow) -> sqlx::Result<Vec<Option<String>>> {
    (0..row.len()).map(|n| row.try_get(n)).collect()
}

fn too_long() -> RunFailed {
    RunFailed::new("the database took longer than 2 minutes for one statement")
}

/// Says what an operator can do about an error. Codes: PostgreSQL's documentation, appendix A.
fn failed(error: &sqlx::Error) -> RunFailed {
    let refused = error.as_database_error().and_then(|error| error.try_downcast_ref());
    let what = match refused.map(PgDatabaseError::code) {
        Some("28P01" | "28000") => {
            "the database refused the user; look at `url`, and give the right `secret`"
        }
        Some("3D000") => "there is no such database; look at `url`",
        Some("42501") => {
            "the user may not read it; grant SELECT on the table, and USAGE on its schema"
        }
        Some("42P01" | "42703") => "the table is not there any more as it was",
        Some("53300") => "the database has too many connections; it is tried again at the next run",
        Some("57014") => return too_long(),
        Some("57P01" | "57P02" | "57P03") => {
            "the database is stopping or starting; it is tried again at the next run"
        }
        Some(_) => "the database refused a statement",
        None if matches!(error, sqlx::Error::Io(why) if why.kind() == ErrorKind::InvalidData) => {
            "the database's certificate is none to be trusted; look at `sslmode` in `url`"
        }
        None if matches!(error, sqlx::Error::Io(_)) => {
            "the database cannot be reached; look at `url`, and whether it runs"
        }
        None if matches!(error, sqlx::Error::PoolTimedOut) => return too_long(),
        None if matches!(error, sqlx::Error::Tls(_)) => {
            "the connection could not be encrypted; look at `sslmode` in `url`"
        }
        None => "the database's answer cannot be used",
    };
    let why = format!("{what} ({error})");
    if is_of_content(error) { RunFailed::of_content(why) } else { RunFailed::new(why) }
}

/// Whether the content of a row caused the error: data exceptions (class 22) and corrupted rows.
fn is_of_content(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    let is_of_row = |code: &str| code.starts_with("22") || matches!(code, "XX000" | "XX001");
    code.is_some_and(|code| is_of_row(&code))
        || matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_))
}
