//! A fresh MariaDB database for one test, as a CRM would use it.

use std::str::FromStr as _;

use anyhow::{Context as _, Result};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

use crate::world::skip;

/// A database on a MariaDB server, and a user with read access only. Both are dropped with the
/// value.
#[derive(Debug)]
pub struct MariaDatabase {
    server: String,
    name: String,
}

impl MariaDatabase {
    /// Creates a database on the server at `server`, a URL with a user who may create databases and
    /// users.
    pub async fn create(server: &str) -> Result<Self> {
        let name = tempfile::Builder::new().prefix("waybill_test_").rand_bytes(12).tempfile()?;
        let name = name.path().file_name().context("a file has a name")?;
        let name = name.to_string_lossy().to_lowercase();
        let database = Self { server: server.to_owned(), name };
        let Self { server, name } = &database;
        let password = database.password();
        let made = format!(
            "CREATE DATABASE `{name}` CHARACTER SET utf8mb4;
             CREATE USER '{name}'@'%' IDENTIFIED BY '{password}';
             GRANT SELECT ON `{name}`.* TO '{name}'@'%';"
        );
        execute(server, &made).await?;
        Ok(database)
    }

    /// Creates a database on the server that `WAYBILL_TEST_MARIADB` names. Returns `None` if it is
    /// not set, which fails the test if `CI=true`.
    pub async fn fresh() -> Option<Self> {
        let Ok(server) = std::env::var("WAYBILL_TEST_MARIADB") else {
            skip("WAYBILL_TEST_MARIADB names no MariaDB; `cargo xtask test` starts one");
            return None;
        };
        Some(Self::create(&server).await.expect("MariaDB makes a database"))
    }

    /// Returns its URL, with a user who may do everything.
    pub fn url(&self) -> String {
        format!("{}{}", self.server_url(), self.name)
    }

    /// Returns its URL with the read-only user, without the password.
    pub fn reader_url(&self) -> String {
        let server = self.server_url();
        let place = server.rsplit_once('@').map_or(server.as_str(), |(_, place)| place);
        format!("mysql://{}@{place}{}", self.name, self.name)
    }

    /// Returns the password of the read-only user.
    pub fn password(&self) -> String {
        format!("only-{}-knows", self.name)
    }

    /// Runs statements in it, as one transaction.
    pub async fn execute(&self, sql: &str) -> Result<()> {
        execute(&self.url(), sql).await
    }

    /// Returns the first column of a query, with values of all types as text.
    pub async fn texts(&self, query: &str) -> Result<Vec<String>> {
        let mut connection = connect(&self.url()).await?;
        let rows =
            sqlx::raw_sql(AssertSqlSafe(query.to_owned())).fetch_all(&mut connection).await?;
        connection.close().await?;
        Ok(rows.iter().map(|row| row.try_get_unchecked(0)).collect::<sqlx::Result<_>>()?)
    }

    /// Returns the server's URL up to the name of a database.
    fn server_url(&self) -> String {
        let server = self.server.rsplit_once('/').map_or(self.server.as_str(), |(url, _)| url);
        format!("{server}/")
    }
}

impl Drop for MariaDatabase {
    /// Drops the database from a separate thread, because a destructor cannot wait for a future.
    fn drop(&mut self) {
        let Self { server, name } = self;
        let sql = format!("DROP DATABASE IF EXISTS `{name}`; DROP USER IF EXISTS '{name}'@'%';");
        let server = server.clone();
        let work = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(execute(&server, &sql))
        });
        // If the server is gone, so is the database.
        let _gone = work.join();
    }
}

async fn connect(url: &str) -> Result<MySqlConnection> {
    Ok(MySqlConnectOptions::from_str(url)?.connect().await?)
}

async fn execute(url: &str, sql: &str) -> Result<()> {
    let mut connection = connect(url).await?;
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut *transaction)
        .await
        .with_context(|| format!("running {sql}"))?;
    transaction.commit().await?;
    Ok(connection.close().await?)
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
    use sqlx::{ConnectOptions as _, Executor as _};

    use super::MariaDatabase;
    use crate::MariaDb;
    use crate::world::skip;

    async fn connect(url: &str, password: &str) -> sqlx::Result<MySqlConnection> {
        MySqlConnectOptions::from_str(url)?.password(password).connect().await
    }

    #[tokio::test]
    async fn a_server_stops_and_comes_back_with_its_data() {
        if !MariaDb::is_installed() {
            skip("MariaDB is not on this machine");
            return;
        }
        let mut server = MariaDb::start().unwrap();
        let database = MariaDatabase::create(&server.url("")).await.unwrap();
        database.execute("CREATE TABLE t (n INT); INSERT INTO t VALUES (1), (2);").await.unwrap();
        // The second statement fails, so the first is rolled back too.
        database
            .execute("INSERT INTO t VALUES (3); INSERT INTO nowhere VALUES (4);")
            .await
            .unwrap_err();
        server.stop().unwrap();
        connect(&database.url(), "").await.unwrap_err();
        server.resume().unwrap();

        let mut reader = connect(&database.reader_url(), &database.password()).await.unwrap();
        let sum: i64 = sqlx::query_scalar("SELECT CAST(SUM(n) AS SIGNED) FROM t")
            .fetch_one(&mut reader)
            .await
            .unwrap();
        assert_eq!(sum, 3);
        reader.execute("INSERT INTO t VALUES (5)").await.unwrap_err();
        connect(&database.reader_url(), "wrong").await.unwrap_err();
        let (url, password) = (database.reader_url(), database.password());
        drop(database);
        connect(&url, &password).await.unwrap_err();
    }
}
