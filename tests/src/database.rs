//! A fresh PostgreSQL database for one test or one measurement.

use std::str::FromStr as _;

use anyhow::{Context as _, Result};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

/// A database of its own on a server; it is dropped with the value.
#[derive(Debug)]
pub struct Database {
    server: String,
    name: String,
}

impl Database {
    /// Creates a database on the server at `server`, a URL of any of its databases whose user
    /// may create others.
    pub async fn create(server: &str) -> Result<Self> {
        let name = tempfile::Builder::new().prefix("waybill_test_").rand_bytes(12).tempfile()?;
        let name = name.path().file_name().context("a file has a name")?;
        let name = name.to_string_lossy().to_lowercase();
        let database = Self { server: server.to_owned(), name };
        execute(server, &format!(r#"CREATE DATABASE "{}""#, database.name)).await?;
        Ok(database)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        let server = self.server.rsplit_once('/').map_or(self.server.as_str(), |(url, _)| url);
        format!("{server}/{}", self.name)
    }

    /// Runs SQL in it.
    pub async fn execute(&self, sql: &str) -> Result<()> {
        execute(&self.url(), sql).await
    }
}

impl Drop for Database {
    /// Drops the database from a thread of its own: a destructor cannot wait for a future.
    fn drop(&mut self) {
        let sql = format!(r#"DROP DATABASE IF EXISTS "{}" WITH (FORCE)"#, self.name);
        let server = self.server.clone();
        let work = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(execute(&server, &sql))
        });
        // A server that is gone has taken the database along.
        let _gone = work.join();
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
