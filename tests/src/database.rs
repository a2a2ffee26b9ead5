//! A fresh PostgreSQL database for one test or one measurement, and a way to block writes to it.

use std::str::FromStr as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

/// Total time and interval of the checks in [`Stopped::is_awaited`].
const PATIENCE: (Duration, Duration) = (Duration::from_mins(2), Duration::from_millis(20));

/// A database on a server. It is dropped with the value.
#[derive(Debug)]
pub struct Database {
    server: String,
    name: String,
}

impl Database {
    /// Creates a database on the server at `server`, the URL of any of its databases with a user
    /// who may create others.
    pub async fn create(server: &str) -> Result<Self> {
        Self::create_with(server, "").await
    }

    /// Like [`Self::create`], with options of `CREATE DATABASE`.
    pub async fn create_with(server: &str, options: &str) -> Result<Self> {
        let name = tempfile::Builder::new().prefix("waybill_test_").rand_bytes(12).tempfile()?;
        let name = name.path().file_name().context("a file has a name")?;
        let name = name.to_string_lossy().to_lowercase();
        let database = Self { server: server.to_owned(), name };
        execute(server, &format!(r#"CREATE DATABASE "{}" {options}"#, database.name)).await?;
        Ok(database)
    }

    /// Returns its URL.
    pub fn url(&self) -> String {
        let server = self.server.rsplit_once('/').map_or(self.server.as_str(), |(url, _)| url);
        format!("{server}/{}", self.name)
    }

    /// Runs SQL in the database.
    pub async fn execute(&self, sql: &str) -> Result<()> {
        Self::run(&self.url(), sql).await
    }

    /// Returns the first column of a query, with each value as a text.
    pub async fn texts(&self, query: &str) -> Result<Vec<String>> {
        let mut connection = PgConnectOptions::from_str(&self.url())?.connect().await?;
        let found = sqlx::query_scalar(AssertSqlSafe(query.to_owned()));
        let found = found.fetch_all(&mut connection).await?;
        connection.close().await?;
        Ok(found)
    }

    /// Runs SQL in the database at `url`.
    pub async fn run(url: &str, sql: &str) -> Result<()> {
        execute(url, sql).await
    }
}

impl Drop for Database {
    /// Drops the database from a separate thread, because a destructor cannot wait for a future.
    fn drop(&mut self) {
        let sql = format!(r#"DROP DATABASE IF EXISTS "{}" WITH (FORCE)"#, self.name);
        let server = self.server.clone();
        let work = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(execute(&server, &sql))
        });
        // If the server is gone, so is the database.
        let _gone = work.join();
    }
}

/// A table that others can read but not write until this is dropped.
#[derive(Debug)]
pub struct Stopped {
    connection: PgConnection,
    table: &'static str,
}

impl Stopped {
    /// Blocks writes to a table of the database at `url`.
    pub async fn at(url: &str, table: &'static str) -> Result<Self> {
        let mut connection = PgConnectOptions::from_str(url)?.connect().await?;
        let sql = format!("BEGIN; LOCK TABLE {table} IN EXCLUSIVE MODE");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
        Ok(Self { connection, table })
    }

    /// Waits until a writer is blocked.
    pub async fn is_awaited(&mut self) -> Result<()> {
        let waiting = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted AND relation = $1::regclass";
        let deadline = Instant::now() + PATIENCE.0;
        while Instant::now() < deadline {
            let count: i64 = sqlx::query_scalar(waiting)
                .bind(self.table)
                .fetch_one(&mut self.connection)
                .await?;
            if count > 0 {
                return Ok(());
            }
            tokio::time::sleep(PATIENCE.1).await;
        }
        bail!("nobody writes to {}", self.table)
    }
}

async fn execute(url: &str, sql: &str) -> Result<()> {
    let mut connection = PgConnectOptions::from_str(url)?.connect().await?;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await
        .with_context(|| format!("running {sql}"))?;
    Ok(connection.close().await?)
}
