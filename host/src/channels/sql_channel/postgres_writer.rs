//! Writes deliveries over a connection to PostgreSQL.

use super::SqlTls;
use super::database_route::DatabaseRoute;
use super::driver_error::{DatabaseFault, explain_driver};
use super::sql_publisher::{CommittedRow, DatabaseLogin, WriteFailure};
use super::write_plan::WritePlan;
use crate::channels::publish::PublishError;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

/// The settings of the session: bounds on each statement, on each wait for a lock, and on a
/// transaction that this process left open.
const SESSION: &str = "SET statement_timeout = '60s'; SET lock_timeout = '30s'; \
    SET idle_in_transaction_session_timeout = '60s'; SET TimeZone = 'UTC'";

/// A connection to PostgreSQL.
#[derive(Debug)]
pub struct PostgresWriter {
    connection: PgConnection,
    _route: DatabaseRoute,
}

impl PostgresWriter {
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
            Err(why) if code(&why) == Some("42P01") => {
                create_inbox(&mut connection, plan).await.map_err(failed)?;
            }
            probed => {
                probed.map_err(failed)?;
            }
        }
        Ok(Self { connection, _route: route })
    }

    /// Writes a delivery and its row of the inbox in one transaction. `row` is a JSON object with
    /// the values.
    pub async fn write(
        &mut self,
        plan: &WritePlan,
        delivery_id: &str,
        row: &str,
    ) -> Result<CommittedRow, WriteFailure> {
        self.try_write(plan, delivery_id, row).await.map_err(|why| explain(&why))
    }

    async fn try_write(
        &mut self,
        plan: &WritePlan,
        delivery_id: &str,
        row: &str,
    ) -> sqlx::Result<CommittedRow> {
        let mut transaction = self.connection.begin().await?;
        let insert = sqlx::query(AssertSqlSafe(plan.inbox_insert.clone())).bind(delivery_id);
        if insert.execute(&mut *transaction).await?.rows_affected() == 0 {
            transaction.rollback().await?;
            return Ok(CommittedRow { rows: 0, is_repeat: true });
        }
        let write = sqlx::query(AssertSqlSafe(plan.write.clone())).bind(row);
        let rows = write.execute(&mut *transaction).await?.rows_affected();
        transaction.commit().await?;
        Ok(CommittedRow { rows, is_repeat: false })
    }
}

/// Creates the inbox. Another connection may create it at the same time: PostgreSQL then refuses
/// one of the two in spite of `IF NOT EXISTS`, with one of several errors of its catalogue. It
/// waits for the other's commit before it refuses, so a second probe finds the table.
async fn create_inbox(connection: &mut PgConnection, plan: &WritePlan) -> sqlx::Result<()> {
    let create = sqlx::raw_sql(AssertSqlSafe(plan.inbox_create.clone()));
    let Err(refused) = create.execute(&mut *connection).await else { return Ok(()) };
    let probe = sqlx::raw_sql(AssertSqlSafe(plan.inbox_probe.clone()));
    if probe.execute(connection).await.is_ok() { Ok(()) } else { Err(refused) }
}

/// Returns the options of a connection. They override the environment variables of PostgreSQL's
/// clients, which may name another server.
fn options(login: &DatabaseLogin, route: &DatabaseRoute) -> PgConnectOptions {
    let options = PgConnectOptions::new_without_pgpass()
        .port(login.place.port)
        .username(&login.user)
        .database(&login.place.path)
        .application_name("waybill")
        .ssl_mode(match login.tls {
            SqlTls::Verify => PgSslMode::VerifyFull,
            SqlTls::Require => PgSslMode::Require,
            SqlTls::Off => PgSslMode::Disable,
        });
    let options = match login.password.reveal() {
        "" => options,
        password => options.password(password),
    };
    let options = match &login.ca {
        Some(ca) => options.ssl_root_cert_from_pem(ca.as_bytes().to_vec()),
        None => options,
    };
    let options = match route {
        DatabaseRoute::Address(address) => options.host(&address.ip().to_string()),
        DatabaseRoute::Bridge(bridge) => options.host(&login.place.host).socket(bridge.folder()),
    };
    options.disable_statement_logging()
}

fn code(error: &sqlx::Error) -> Option<&str> {
    let error = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
    Some(PgDatabaseError::code(error))
}

/// Classifies an error. The codes are in PostgreSQL's documentation, appendix A.
fn explain(error: &sqlx::Error) -> WriteFailure {
    let Some(code) = code(error) else { return explain_driver(error) };
    let fault = match code {
        "28P01" | "28000" => DatabaseFault::WrongLogin,
        "3D000" => DatabaseFault::NoDatabase,
        "42501" => DatabaseFault::NotPermitted,
        "42P01" | "42703" | "42704" => DatabaseFault::NoTable,
        "42P10" => DatabaseFault::NoUniqueKey,
        "42601" | "42883" => DatabaseFault::BadStatement,
        "23503" => DatabaseFault::NoReference,
        _ if code.starts_with("22") || code.starts_with("23") => DatabaseFault::BadValues,
        _ => DatabaseFault::Other,
    };
    // The server is about to close the connection, or has lost it.
    let is_lost = code.starts_with("57P") || code.starts_with("08");
    WriteFailure { outcome: fault.judge(error), is_lost }
}
