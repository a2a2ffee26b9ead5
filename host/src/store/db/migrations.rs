//! Bringing the schema up to date.
//!
//! Both databases keep the same table of what was applied, `_sqlx_migrations`, so a database of any
//! earlier version goes on. sqlx applies the files to PostgreSQL, unless there is a pooler between.
//! The files for SQLite are applied here, because nothing else of the program needs sqlx's driver
//! for SQLite.

use crate::store::StoreError;
use rusqlite::{Connection, TransactionBehavior};
use sqlx::Row as _;
use sqlx::migrate::{MigrateError, Migration, Migrator};
use sqlx::postgres::{PgConnection, PgPool};
use std::collections::BTreeMap;
use std::time::Instant;

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// As sqlx makes it.
const CREATE_TABLE: &str = "
    CREATE TABLE IF NOT EXISTS _sqlx_migrations (
        version BIGINT PRIMARY KEY,
        description TEXT NOT NULL,
        installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
        success BOOLEAN NOT NULL,
        checksum BLOB NOT NULL,
        execution_time BIGINT NOT NULL
    )";

/// As sqlx makes it.
const CREATE_POSTGRES_TABLE: &str = "
    CREATE TABLE IF NOT EXISTS _sqlx_migrations (
        version BIGINT PRIMARY KEY,
        description TEXT NOT NULL,
        installed_on TIMESTAMPTZ NOT NULL DEFAULT now(),
        success BOOLEAN NOT NULL,
        checksum BYTEA NOT NULL,
        execution_time BIGINT NOT NULL
    )";

/// Begins the transaction of the migrations and waits for other nodes' turns. The key is
/// `0x7761_7962_696c_6c03`, after those of the other turns.
const TAKE_TURN: &str = "BEGIN; SELECT pg_advisory_xact_lock(8602290226836827139)";

/// Applies what a PostgreSQL database lacks.
pub async fn migrate_postgres(pool: &PgPool) -> Result<(), StoreError> {
    POSTGRES.run(pool).await.map_err(|error| StoreError::Migration(Box::new(error)))
}

/// Applies what a PostgreSQL database behind a pooler lacks. sqlx holds a lock of the session and
/// prepares statements outside transactions, which a pooler hands to different sessions. So all of
/// it is one transaction here, with a lock of its own and statements without a name.
pub async fn migrate_pooled(pool: &PgPool) -> Result<(), StoreError> {
    let mut tx = pool.begin_with(TAKE_TURN).await?;
    sqlx::raw_sql(CREATE_POSTGRES_TABLE).execute(&mut *tx).await?;
    let applied = sqlx::query("SELECT version, checksum FROM _sqlx_migrations");
    let rows = applied.persistent(false).fetch_all(&mut *tx).await?;
    let mut applied: BTreeMap<i64, Vec<u8>> = BTreeMap::new();
    for row in &rows {
        applied.insert(row.try_get("version")?, row.try_get("checksum")?);
    }
    for migration in list_missing(&POSTGRES, applied)? {
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

/// The migrations that are to be applied. Fails where those that were applied are not known here,
/// or were others.
fn list_missing(
    migrator: &'static Migrator,
    mut applied: BTreeMap<i64, Vec<u8>>,
) -> Result<Vec<&'static Migration>, StoreError> {
    let mut missing = Vec::new();
    for migration in migrator.iter() {
        match applied.remove(&migration.version) {
            Some(checksum) if checksum == *migration.checksum => {}
            Some(_) => return Err(failed(MigrateError::VersionMismatch(migration.version))),
            None => missing.push(migration),
        }
    }
    match applied.into_keys().next() {
        Some(unknown) => Err(failed(MigrateError::VersionMissing(unknown))),
        None => Ok(missing),
    }
}

/// Applies what an SQLite database lacks. A database that lacks nothing is not written to, so that
/// one on a full disk can be opened.
pub fn migrate_sqlite(db: &mut Connection) -> Result<(), StoreError> {
    for migration in list_missing(&SQLITE, read_applied(db)?)? {
        apply(db, migration)?;
    }
    Ok(())
}

fn failed(error: MigrateError) -> StoreError {
    StoreError::Migration(Box::new(error))
}

/// The checksum of each migration that was applied.
fn read_applied(db: &Connection) -> Result<BTreeMap<i64, Vec<u8>>, rusqlite::Error> {
    if !db.table_exists(None, "_sqlx_migrations")? {
        return Ok(BTreeMap::new());
    }
    let mut applied = db.prepare("SELECT version, checksum FROM _sqlx_migrations")?;
    let rows = applied.query_map([], |row| Ok((row.get("version")?, row.get("checksum")?)))?;
    rows.collect()
}

/// Applies a migration and notes it, in one transaction.
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
