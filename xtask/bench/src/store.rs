//! Direct access to Waybill's database: to fill it faster than events come in, and to count its
//! rows.

use std::str::FromStr as _;

use anyhow::{Context as _, Result};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

/// Runs statements one after the other, on one connection.
pub(crate) async fn execute(url: &str, statements: &[String]) -> Result<()> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        let database = rusqlite::Connection::open(path)?;
        for statement in statements {
            database.execute_batch(statement).with_context(|| statement.clone())?;
        }
        return Ok(());
    }
    let mut database = PgConnectOptions::from_str(url)?.connect().await?;
    for statement in statements {
        let sql = AssertSqlSafe(statement.clone());
        sqlx::raw_sql(sql).execute(&mut database).await.with_context(|| statement.clone())?;
    }
    Ok(database.close().await?)
}

/// Returns the size of a PostgreSQL database on the disk, in bytes.
pub(crate) async fn size(url: &str) -> Result<u64> {
    let mut database = PgConnectOptions::from_str(url)?.connect().await?;
    let size: i64 = sqlx::query_scalar("SELECT pg_database_size(current_database())")
        .fetch_one(&mut database)
        .await?;
    Ok(size.unsigned_abs())
}

/// Returns the number of events of a source.
pub(crate) async fn events_of(url: &str, source: &str) -> Result<u64> {
    const COUNT: &str = "SELECT COUNT(*) FROM event WHERE source = $1";
    let count: i64 = if let Some(path) = url.strip_prefix("sqlite:") {
        rusqlite::Connection::open(path)?.query_row(COUNT, [source], |row| row.get(0))?
    } else {
        let mut database = PgConnectOptions::from_str(url)?.connect().await?;
        sqlx::query_scalar(COUNT).bind(source).fetch_one(&mut database).await?
    };
    Ok(count.unsigned_abs())
}
