//! Examines a database without using it, for `waybill doctor`.

use super::{PATIENCE, sqlite_connection, sqlite_database};
use crate::store::StoreError;
use crate::time::timestamp::Timestamp;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

/// Facts about a database.
#[derive(Debug)]
pub enum DatabaseProbe {
    /// The SQLite file does not exist yet. The first start creates it.
    NoFile(PathBuf),
    /// A readable SQLite file.
    Sqlite { path: PathBuf, version: String },
    /// A PostgreSQL server.
    Postgres {
        version: String,
        /// Time of its clock, only for a comparison with this machine's.
        now: Timestamp,
    },
}

/// Opens a database and asks for its version. Does not write and does not create a file.
pub async fn probe_database(url: &str) -> Result<DatabaseProbe, StoreError> {
    if url.starts_with("sqlite:") {
        return probe_file(&sqlite_database::path_of(url)?);
    }
    let options = PgConnectOptions::from_str(url)
        .map_err(|_unreadable| StoreError::Address { given: "postgres:…".to_owned() })?
        .application_name("waybill doctor")
        .disable_statement_logging();
    tokio::time::timeout(PATIENCE, probe_postgres(&options))
        .await
        .unwrap_or_else(|_elapsed| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()).into()))
}

fn probe_file(path: &Path) -> Result<DatabaseProbe, StoreError> {
    if !path.exists() {
        return Ok(DatabaseProbe::NoFile(path.to_owned()));
    }
    let db = sqlite_connection::open_reader(path)?;
    let version: String = db.query_row("SELECT sqlite_version()", [], |row| row.get(0))?;
    // SQLite reads the file with the first query of a table.
    db.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(DatabaseProbe::Sqlite { path: path.to_owned(), version })
}

async fn probe_postgres(options: &PgConnectOptions) -> Result<DatabaseProbe, StoreError> {
    let mut db = PgConnection::connect_with(options).await?;
    let version: String = sqlx::query_scalar("SHOW server_version").fetch_one(&mut db).await?;
    let micros = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    let micros: i64 = sqlx::query_scalar(micros).fetch_one(&mut db).await?;
    db.close().await?;
    Ok(DatabaseProbe::Postgres { version, now: Timestamp::from_micros(micros) })
}
