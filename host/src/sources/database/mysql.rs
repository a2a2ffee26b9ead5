//! A connection to MySQL or MariaDB, read in transactions that cannot write.
//!
//! Statements go as plain text, for which the server answers with every value as text.

use super::super::RunFailed;
use crate::model::database_source::DatabaseSettings;
use futures_util::TryStreamExt as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use std::io::ErrorKind;
use std::str::FromStr as _;
use std::time::Duration;

/// How long connecting, and how long one statement may take.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(2));

/// A connection to MySQL or MariaDB.
#[derive(Debug)]
pub struct MysqlConnection(MySqlConnection);

/// A row as the server sends it: each value as a text, or what a column of bytes holds.
pub type MysqlCells = Vec<Option<Vec<u8>>>;

/// What a statement found.
#[derive(Debug, Default)]
pub struct MysqlRows {
    pub rows: Vec<MysqlCells>,
    /// How long they are.
    pub bytes: usize,
    /// Whether there were more than fit.
    pub is_cut: bool,
}

impl MysqlConnection {
    /// Connects, and gives up the right to write.
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
        // So that a statement that was given up does not run on: MariaDB's word for it, and
        // MySQL's.
        for limit in
            ["SET SESSION max_statement_time = 120", "SET SESSION max_execution_time = 120000"]
        {
            drop(connection.execute(limit).await);
        }
        Ok(connection)
    }

    /// All rows.
    pub async fn select_rows(&mut self, text: String) -> Result<MysqlRows, RunFailed> {
        self.select_some_rows(text, usize::MAX).await
    }

    /// Rows up to so many bytes of them; the rest is read and let go.
    pub async fn select_some_rows(
        &mut self,
        text: String,
        most: usize,
    ) -> Result<MysqlRows, RunFailed> {
        self.run_query(text, most).await.map_err(|error| failed(&error))
    }

    /// All rows; none where the user may not ask for that.
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

    /// Runs a statement that answers nothing.
    pub async fn execute(&mut self, text: &str) -> Result<(), RunFailed> {
        self.select_rows(text.to_owned()).await.map(drop)
    }
}

fn cells(row: &MySqlRow) -> sqlx::Result<MysqlCells> {
    // Whatever the column's type is.
    let cell =
        |n| row.try_get_unchecked::<Option<&[u8]>, _>(n).map(|cell| cell.map(<[u8]>::to_vec));
    (0..row.len()).map(cell).collect()
}

/// A value as text.
pub fn text_at(row: &MysqlCells, n: usize) -> Option<String> {
    let bytes = row.get(n)?.as_deref()?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

/// A name.
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A value: a number as it is, all else in hexadecimal, so that no mode of the server reads it
/// otherwise.
pub fn text(value: &str) -> String {
    let is_number = value.len() < 19 && value.parse::<i64>().is_ok_and(|n| n.to_string() == value);
    if is_number { value.to_owned() } else { hexadecimal(value) }
}

/// A text.
pub fn hexadecimal(value: &str) -> String {
    if value.is_empty() { "''".to_owned() } else { format!("_utf8mb4 0x{}", hex::encode(value)) }
}

fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?;
    Some(error.number())
}

/// What an operator can do about it. Codes: MariaDB's error reference; the same in MySQL.
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

/// Whether a value is to blame: one that a column's character set or collation does not have, or
/// that is broken.
fn is_of_content(error: &sqlx::Error) -> bool {
    matches!(number(error), Some(1267 | 1270 | 1271 | 1300 | 1366 | 3854 | 3988))
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
