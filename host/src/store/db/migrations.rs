//! Updates the schema.
//!
//! Both databases record the applied migrations in the same table, `_sqlx_migrations`, so a
//! database of any earlier version can be updated. sqlx applies the files to PostgreSQL, unless the
//! connection goes through a pooler. The files for SQLite are applied here, because nothing else in
//! the program needs sqlx's driver for SQLite.
//!
//! A database that a newer version has changed can be used if all migrations that this version
//! knows are applied, and the newest of them is not older than the number in `schema_floor`. A
//! migration that earlier versions could not tolerate raises that number. So nodes of two versions
//! can run together during an upgrade, and a node can be downgraded.

use crate::store::StoreError;
use rusqlite::{Connection, TransactionBehavior};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{Row as _, SqlSafeStr as _};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Instant;

/// Number, description and text of a migration.
type MigrationFile = (i64, &'static str, &'static str);

static SQLITE: LazyLock<Migrator> =
    LazyLock::new(|| read_migrations(include!(concat!(env!("OUT_DIR"), "/sqlite_migrations.rs"))));
static POSTGRES: LazyLock<Migrator> = LazyLock::new(|| {
    read_migrations(include!(concat!(env!("OUT_DIR"), "/postgres_migrations.rs")))
});

/// Does what `sqlx::migrate!` does. That macro would compile sqlx, its drivers, tokio and 30 other
/// crates a second time, for the compiler's own use.
fn read_migrations(files: &[MigrationFile]) -> Migrator {
    let read = |(number, description, text): &MigrationFile| {
        let (kind, text) = (MigrationType::Simple, text.into_sql_str());
        Migration::new(*number, (*description).into(), kind, text, false)
    };
    Migrator::with_migrations(files.iter().map(read).collect())
}

/// The same definition as in sqlx.
const CREATE_TABLE: &str = "
    CREATE TABLE IF NOT EXISTS _sqlx_migrations (
        version BIGINT PRIMARY KEY,
        description TEXT NOT NULL,
        installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
        success BOOLEAN NOT NULL,
        checksum BLOB NOT NULL,
        execution_time BIGINT NOT NULL
    )";

/// The same definition as in sqlx.
const CREATE_POSTGRES_TABLE: &str = "
    CREATE TABLE IF NOT EXISTS _sqlx_migrations (
        version BIGINT PRIMARY KEY,
        description TEXT NOT NULL,
        installed_on TIMESTAMPTZ NOT NULL DEFAULT now(),
        success BOOLEAN NOT NULL,
        checksum BYTEA NOT NULL,
        execution_time BIGINT NOT NULL
    )";

/// Begins the transaction of the migrations and waits for other nodes. The key is
/// `0x7761_7962_696c_6c03`, next to the keys of the other advisory locks.
const TAKE_TURN: &str = "BEGIN; SELECT pg_advisory_xact_lock(8602290226836827139)";

/// Applies the missing migrations to a PostgreSQL database.
pub async fn migrate_postgres(pool: &PgPool) -> Result<(), StoreError> {
    let mut db = pool.acquire().await?;
    let applied = read_applied_postgres(&mut db).await?;
    // sqlx rejects unknown migrations. If all known ones are applied, it has nothing to do anyway.
    if find_unknown(&POSTGRES, &applied).is_some() {
        return list_missing(&POSTGRES, &applied).map(drop);
    }
    drop(db);
    POSTGRES.run(pool).await.map_err(failed)
}

/// Reads the migrations applied to a PostgreSQL database, and the oldest version that may use it.
async fn read_applied_postgres(db: &mut PgConnection) -> Result<AppliedMigrations, StoreError> {
    let mut applied = AppliedMigrations::default();
    let exists = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS found, \
                  to_regclass('schema_floor') IS NOT NULL AS has_floor";
    let exists = sqlx::query(exists).persistent(false).fetch_one(&mut *db).await?;
    if exists.try_get("found")? {
        let rows = sqlx::query("SELECT version, checksum FROM _sqlx_migrations WHERE success");
        for row in rows.persistent(false).fetch_all(&mut *db).await? {
            applied.checksums.insert(row.try_get("version")?, row.try_get("checksum")?);
        }
    }
    if exists.try_get("has_floor")? {
        let floor = sqlx::query("SELECT MAX(version) AS version FROM schema_floor");
        applied.floor = floor.persistent(false).fetch_one(&mut *db).await?.try_get("version")?;
    }
    Ok(applied)
}

/// Applies the missing migrations to a PostgreSQL database behind a pooler. sqlx holds a lock of
/// the session and prepares statements outside transactions, but a pooler moves them between
/// sessions. So here everything is one transaction, with its own lock and unnamed statements.
pub async fn migrate_pooled(pool: &PgPool) -> Result<(), StoreError> {
    let mut tx = pool.begin_with(TAKE_TURN).await?;
    sqlx::raw_sql(CREATE_POSTGRES_TABLE).execute(&mut *tx).await?;
    let applied = read_applied_postgres(&mut tx).await?;
    for migration in list_missing(&POSTGRES, &applied)? {
        apply_pooled(&mut tx, migration).await?;
    }
    Ok(tx.commit().await?)
}

async fn apply_pooled(db: &mut PgConnection, migration: &Migration) -> Result<(), StoreError> {
    let began = Instant::now();
    let done = sqlx::raw_sql(migration.sql.clone()).execute(&mut *db).await;
    done.map_err(|error| failed(MigrateError::ExecuteMigration(error, migration.version)))?;
    let note = "INSERT INTO _sqlx_migrations (version, description, success, checksum, \
                execution_time) VALUES ($1, $2, TRUE, $3, $4)";
    let note = sqlx::query(note)
        .bind(migration.version)
        .bind(&*migration.description)
        .bind(&*migration.checksum)
        .bind(nanoseconds_since(began));
    note.persistent(false).execute(db).await?;
    Ok(())
}

fn nanoseconds_since(began: Instant) -> i64 {
    i64::try_from(began.elapsed().as_nanos()).unwrap_or(i64::MAX)
}

/// The migrations that were applied to a database.
#[derive(Debug, Default)]
struct AppliedMigrations {
    /// Checksums by migration number.
    checksums: BTreeMap<i64, Vec<u8>>,
    /// The oldest migration that a program must know to use the database, if one is set.
    floor: Option<i64>,
}

/// Returns an applied migration that this version does not know, because a newer version has used
/// the database.
fn find_unknown(migrator: &Migrator, applied: &AppliedMigrations) -> Option<i64> {
    let is_known = |number: &i64| migrator.iter().any(|known| known.version == *number);
    applied.checksums.keys().copied().find(|number| !is_known(number))
}

/// Returns the migrations to apply. Empty if a newer version has used the database and this version
/// can still use it. Fails if this version cannot use it, or if an applied migration differs.
fn list_missing(
    migrator: &'static Migrator,
    applied: &AppliedMigrations,
) -> Result<Vec<&'static Migration>, StoreError> {
    let mut missing = Vec::new();
    for migration in migrator.iter() {
        match applied.checksums.get(&migration.version) {
            Some(checksum) if checksum.as_slice() == &*migration.checksum => {}
            Some(_) => return Err(failed(MigrateError::VersionMismatch(migration.version))),
            None => missing.push(migration),
        }
    }
    let Some(unknown) = find_unknown(migrator, applied) else { return Ok(missing) };
    let newest = migrator.iter().map(|known| known.version).max().unwrap_or_default();
    match applied.floor.filter(|floor| missing.is_empty() && *floor <= newest) {
        Some(_) => {
            tracing::warn!(
                migration = unknown,
                "a newer version has changed the database's schema; this version can still use it"
            );
            Ok(missing)
        }
        None => Err(StoreError::NewerSchema { migration: applied.floor.unwrap_or(unknown) }),
    }
}

/// Applies the missing migrations to an SQLite database. Does not write if none is missing, so that
/// a database on a full disk can be opened.
pub fn migrate_sqlite(db: &mut Connection) -> Result<(), StoreError> {
    for migration in list_missing(&SQLITE, &read_applied(db)?)? {
        apply(db, migration)?;
    }
    Ok(())
}

/// Returns the error of a failed update. A database that went away or became a standby meanwhile is
/// unavailable, and the update succeeds later.
fn failed(error: MigrateError) -> StoreError {
    let is_away = matches!(&error, MigrateError::Execute(cause) if is_away(cause))
        || matches!(
            &error,
            MigrateError::ExecuteMigration(cause, _) if is_away(cause) && !is_too_slow(cause)
        );
    let error = Box::new(error);
    if is_away { sqlx::Error::Migrate(error).into() } else { StoreError::Migration(error) }
}

/// Returns whether the database cannot run any migration at present: the connection is lost (no
/// code, 08, 57), the server is a standby (25006), lacks resources (53) or waits for a lock (55P03,
/// 40).
fn is_away(error: &sqlx::Error) -> bool {
    let Some(answer) = error.as_database_error() else {
        return matches!(
            error,
            sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
                | sqlx::Error::Protocol(_)
        );
    };
    let code = answer.code().unwrap_or_default();
    let passes = ["08", "57", "25006", "53", "55P03", "40"];
    passes.iter().any(|start| code.starts_with(start))
}

/// Returns whether a statement exceeded the statement time-out (57014). A migration would do so again.
fn is_too_slow(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|answer| answer.code().as_deref() == Some("57014"))
}

/// Reads the migrations applied to an SQLite database, and the oldest version that may use it.
fn read_applied(db: &Connection) -> Result<AppliedMigrations, rusqlite::Error> {
    let mut found = AppliedMigrations::default();
    if db.table_exists(None, "_sqlx_migrations")? {
        let mut applied = db.prepare("SELECT version, checksum FROM _sqlx_migrations")?;
        let rows = applied.query_map([], |row| Ok((row.get("version")?, row.get("checksum")?)))?;
        found.checksums = rows.collect::<Result<_, _>>()?;
    }
    if db.table_exists(None, "schema_floor")? {
        let floor = "SELECT MAX(version) AS version FROM schema_floor";
        found.floor = db.query_row(floor, [], |row| row.get("version"))?;
    }
    Ok(found)
}

/// Applies a migration and records it, in one transaction.
fn apply(db: &mut Connection, migration: &Migration) -> Result<(), StoreError> {
    let began = Instant::now();
    db.execute_batch(CREATE_TABLE)?;
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute_batch(migration.sql.as_str())?;
    let took = nanoseconds_since(began);
    tx.execute(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (?1, ?2, TRUE, ?3, ?4)",
        (migration.version, &*migration.description, &*migration.checksum, took),
    )?;
    Ok(tx.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOpening;
    use crate::store::db::DatabasePool;
    use crate::store::db::pool::tests::postgres_url;
    use sqlx::Connection as _;

    #[tokio::test]
    async fn a_database_that_takes_no_writes_is_away_and_another_ones_tables_are_a_fault() {
        let Some(url) = postgres_url().await else { return };
        let read_only = format!("{url}%20-c%20default_transaction_read_only%3Don");
        let refused = DatabasePool::open(&read_only, StoreOpening::default()).await.unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
        let mut db = PgConnection::connect(&url).await.unwrap();
        sqlx::raw_sql("CREATE TABLE event (other TEXT)").execute(&mut db).await.unwrap();
        let refused = DatabasePool::open(&url, StoreOpening::default()).await.unwrap_err();
        assert!(matches!(refused, StoreError::Migration(_)), "{refused:?}");
    }
}
