//! A connection to MySQL or MariaDB that can only read.
//!
//! Statements are sent as plain text (not prepared), because then the server returns each value as
//! text, whatever its type.

use super::super::RunFailed;
use crate::model::database_source::DatabaseSettings;
use futures_util::TryStreamExt as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use std::io::ErrorKind;
use std::str::FromStr as _;
use std::time::Duration;

/// The time limit for connecting, and the one for a statement.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(2));

/// A connection to MySQL or MariaDB.
#[derive(Debug)]
pub struct MysqlConnection(MySqlConnection);

/// A row as the server sends it: each value as text, or as bytes if the column is binary.
pub type MysqlCells = Vec<Option<Vec<u8>>>;

/// The rows that a statement returned.
#[derive(Debug, Default)]
pub struct MysqlRows {
    pub rows: Vec<MysqlCells>,
    /// The size of the rows, in bytes.
    pub bytes: usize,
    /// Whether rows were left out because of the bound on bytes.
    pub is_cut: bool,
}

impl MysqlConnection {
    /// Connects, with a session that can only read.
    pub async fn connect(
        settings: &DatabaseSettings,
        secret: Option<&str>,
    ) -> Result<Self, RunFailed> {
        let url = settings.url.replacen("mariadb://", "mysql://", 1);
        let options = MySqlConnectOptions::from_str(&url)
            .map_err(|_opaque| RunFailed::new("the source's `url` cannot be read"))?;
        let mut options = secret.map_or(options.clone(), |secret| options.password(secret));
        let place = url.rsplit_once('@').map_or("", |(_, place)| place);
        if let Some(host) = super::ipv6(place) {
            options = options.host(host);
        }
        let options = options.disable_statement_logging();
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
        connection
            .execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            .await?;
        // A statement that we no longer wait for must not run on in the server. The first setting
        // is MariaDB's, the second MySQL's; each server refuses the other's.
        for limit in
            ["SET SESSION max_statement_time = 120", "SET SESSION max_execution_time = 120000"]
        {
            drop(connection.execute(limit).await);
        }
        Ok(connection)
    }

    /// Runs a query and returns all rows.
    pub async fn select_rows(&mut self, text: String) -> Result<MysqlRows, RunFailed> {
        self.select_some_rows(text, usize::MAX).await
    }

    /// Runs a query and returns rows until they have `most` bytes. The rest is read and discarded.
    pub async fn select_some_rows(
        &mut self,
        text: String,
        most: usize,
    ) -> Result<MysqlRows, RunFailed> {
        self.run_query(text, most).await.map_err(|error| failed(&error))
    }

    /// Runs a query and returns all rows, or none if the user lacks the permission.
    pub async fn select_permitted(&mut self, text: String) -> Result<MysqlRows, RunFailed> {
        match self.run_query(text, usize::MAX).await {
            Err(error) if matches!(number(&error), Some(1142 | 1143)) => Ok(MysqlRows::default()),
            asked => asked.map_err(|error| failed(&error)),
        }
    }

    async fn run_query(&mut self, text: String, most: usize) -> sqlx::Result<MysqlRows> {
        let read = async {
            let mut found = MysqlRows::default();
            let mut rows = sqlx::raw_sql(AssertSqlSafe(text)).fetch(&mut self.0);
            while let Some(row) = rows.try_next().await? {
                if found.bytes >= most {
                    found.is_cut = true;
                    continue;
                }
                let cells = cells(&row)?;
                found.bytes += cells.iter().flatten().map(Vec::len).sum::<usize>();
                found.rows.push(cells);
            }
            Ok(found)
        };
        tokio::time::timeout(PATIENCE.1, read).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    /// Runs a statement that returns no rows.
    pub async fn execute(&mut self, text: &str) -> Result<(), RunFailed> {
        self.select_rows(text.to_owned()).await.map(drop)
    }
}

fn cells(row: &MySqlRow) -> sqlx::Result<MysqlCells> {
    // Unchecked, because the text is wanted whatever the column's type is.
    let cell =
        |n| row.try_get_unchecked::<Option<&[u8]>, _>(n).map(|cell| cell.map(<[u8]>::to_vec));
    (0..row.len()).map(cell).collect()
}

/// Returns a value as text. Bytes that are not UTF-8 are replaced.
pub fn text_at(row: &MysqlCells, n: usize) -> Option<String> {
    let bytes = row.get(n)?.as_deref()?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

/// Quotes a name for a statement.
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Writes a value for a statement: a number as it is, anything else in hexadecimal, because the
/// meaning of a quoted text depends on the server's SQL mode.
pub fn text(value: &str) -> String {
    let is_number = value.len() < 19 && value.parse::<i64>().is_ok_and(|n| n.to_string() == value);
    if is_number { value.to_owned() } else { hexadecimal(value) }
}

/// Writes a text for a statement, in hexadecimal.
pub fn hexadecimal(value: &str) -> String {
    if value.is_empty() { "''".to_owned() } else { format!("_utf8mb4 0x{}", hex::encode(value)) }
}

fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?;
    Some(error.number())
}

/// Says what an operator can do about an error. The codes are from MariaDB's error reference; MySQL
/// has the same.
fn failed(error: &sqlx::Error) -> RunFailed {
    let what = match number(error) {
        Some(1044 | 1045 | 1698) => {
            "the database refused the user; look at `url`, and give the right `secret`"
        }
        Some(1049) => "there is no such database; look at `url`",
        Some(1142 | 1143) => "the user may not read a table; grant SELECT on the database",
        Some(1146 | 1054) => "a table is not there any more as it was",
        Some(1040 | 1203 | 1226) => {
            "the database has too many connections; it is tried again at the next run"
        }
        Some(_) => "the database refused a statement",
        None if matches!(error, sqlx::Error::Io(why) if why.kind() == ErrorKind::InvalidData) => {
            "the database's certificate is none to be trusted; look at `ssl-mode` in `url`"
        }
        None if matches!(error, sqlx::Error::Io(_)) => {
            "the database cannot be reached; look at `url`, and whether it runs"
        }
        None if matches!(error, sqlx::Error::PoolTimedOut) => {
            return RunFailed::new("the database took longer than 2 minutes for one statement");
        }
        None if matches!(error, sqlx::Error::Tls(_)) => {
            "the connection could not be encrypted; look at `ssl-mode` in `url`"
        }
        None => "the database's answer cannot be used",
    };
    let why = format!("{what} ({error})");
    if is_of_content(error) { RunFailed::of_content(why) } else { RunFailed::new(why) }
}

/// Whether the content of a row or a parameter caused the error: it is not in the column's
/// character set or collation, it is out of range, or it is malformed.
fn is_of_content(error: &sqlx::Error) -> bool {
    matches!(number(error), Some(1267 | 1270 | 1271 | 1300 | 1366 | 1690 | 3854 | 3988))
        || matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_statement_cannot_end_it() {
        assert_eq!(quoted("a`b"), "`a``b`");
        assert_eq!(text("17"), "17");
        assert_eq!(text("017"), "_utf8mb4 0x303137");
        assert_eq!(text("x' OR 1=1"), "_utf8mb4 0x7827204f5220313d31");
        assert_eq!(text(""), "''");
    }
}
