//! Writes deliveries over a connection to MySQL or MariaDB.

use super::SqlTls;
use super::database_route::DatabaseRoute;
use super::driver_error::{DatabaseFault, explain_driver};
use super::sql_publisher::{CommittedRow, DatabaseLogin, WriteFailure};
use super::write_plan::WritePlan;
use crate::channels::publish::PublishError;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

/// The settings of the session. Without strict mode a server silently cuts values that do not fit.
const SESSION: &str = "SET SESSION innodb_lock_wait_timeout = 30, \
    SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES')";

/// The error number of a duplicate key.
const DUPLICATE: u16 = 1062;
/// The error number of a missing table.
const NO_TABLE: u16 = 1146;

/// A connection to MySQL or MariaDB.
#[derive(Debug)]
pub struct MysqlWriter {
    connection: MySqlConnection,
    _route: DatabaseRoute,
}

impl MysqlWriter {
    /// Connects, and creates the inbox if it does not exist.
    pub async fn connect(
        login: &DatabaseLogin,
        route: DatabaseRoute,
        plan: &WritePlan,
    ) -> Result<Self, PublishError> {
        let options = options(login, &route);
        let failed = |why: sqlx::Error| explain(&why).into_error();
        let mut connection = options.connect().await.map_err(failed)?;
        sqlx::raw_sql(SESSION).execute(&mut connection).await.map_err(failed)?;
        let probe = sqlx::raw_sql(AssertSqlSafe(plan.inbox_probe.clone()));
        match probe.execute(&mut connection).await {
            Err(why) if number(&why) == Some(NO_TABLE) => {
                let create = sqlx::raw_sql(AssertSqlSafe(plan.inbox_create.clone()));
                create.execute(&mut connection).await.map_err(failed)?;
            }
            probed => {
                probed.map_err(failed)?;
            }
        }
        Ok(Self { connection, _route: route })
    }

    /// Writes a delivery and its row of the inbox in one transaction. `values` holds the values of
    /// the statement's parameters in their order.
    pub async fn write(
        &mut self,
        plan: &WritePlan,
        delivery_id: &str,
        values: &[Option<String>],
    ) -> Result<CommittedRow, WriteFailure> {
        self.try_write(plan, delivery_id, values).await.map_err(|why| explain(&why))
    }

    async fn try_write(
        &mut self,
        plan: &WritePlan,
        delivery_id: &str,
        values: &[Option<String>],
    ) -> sqlx::Result<CommittedRow> {
        let mut transaction = self.connection.begin().await?;
        let insert = sqlx::query(AssertSqlSafe(plan.inbox_insert.clone())).bind(delivery_id);
        match insert.execute(&mut *transaction).await {
            Err(why) if number(&why) == Some(DUPLICATE) => {
                transaction.rollback().await?;
                return Ok(CommittedRow { rows: 0, is_repeat: true });
            }
            inserted => {
                inserted?;
            }
        }
        let mut write = sqlx::query(AssertSqlSafe(plan.write.clone()));
        for value in values {
            write = write.bind(value.as_deref());
        }
        let rows = write.execute(&mut *transaction).await?.rows_affected();
        transaction.commit().await?;
        Ok(CommittedRow { rows, is_repeat: false })
    }
}

fn options(login: &DatabaseLogin, route: &DatabaseRoute) -> MySqlConnectOptions {
    let options = MySqlConnectOptions::new()
        .port(login.place.port)
        .username(&login.user)
        .database(&login.place.path)
        // An operator's statement must mean the same as in other clients.
        .pipes_as_concat(false)
        .ssl_mode(match login.tls {
            SqlTls::Verify => MySqlSslMode::VerifyIdentity,
            SqlTls::Require => MySqlSslMode::Required,
            SqlTls::Off => MySqlSslMode::Disabled,
        });
    // MySQL distinguishes an empty password from no password. Empty means none here.
    let options = match login.password.reveal() {
        "" => options,
        password => options.password(password),
    };
    let options = match &login.ca {
        Some(ca) => options.ssl_ca_from_pem(ca.as_bytes().to_vec()),
        None => options,
    };
    let options = match route {
        DatabaseRoute::Address(address) => options.host(&address.ip().to_string()),
        DatabaseRoute::Bridge(bridge) => options.host(&login.place.host).socket(&bridge.file),
    };
    options.disable_statement_logging()
}

fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?;
    Some(error.number())
}

/// Classifies an error. The numbers are in MariaDB's error reference; MySQL uses the same.
fn explain(error: &sqlx::Error) -> WriteFailure {
    let Some(number) = number(error) else {
        return explain_driver(error);
    };
    let fault = match number {
        1044 | 1045 | 1698 => DatabaseFault::WrongLogin,
        1049 => DatabaseFault::NoDatabase,
        1142 | 1143 | 1370 => DatabaseFault::NotPermitted,
        NO_TABLE | 1054 => DatabaseFault::NoTable,
        1064 | 1305 => DatabaseFault::BadStatement,
        1216 | 1452 => DatabaseFault::NoReference,
        // The values do not fit: null, a duplicate, out of range, cut off, an invalid date or
        // number, too long, text outside the character set, invalid JSON, or a constraint.
        1048 | DUPLICATE | 1264 | 1265 | 1292 | 1364 | 1366 | 1406 | 3140 | 3819 | 3988 | 4025 => {
            DatabaseFault::BadValues
        }
        _ => DatabaseFault::Other,
    };
    // The server is shutting down, or has ended the connection.
    WriteFailure { outcome: fault.judge(error), is_lost: matches!(number, 1053 | 1927 | 4031) }
}
