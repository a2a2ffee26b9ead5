//! Bringing the schema up to date.
//!
//! Both databases keep the same table of what was applied, `_sqlx_migrations`, so a database of any
//! earlier version goes on. sqlx applies the files to PostgreSQL. The files for SQLite are applied
//! here, because nothing else of the program needs sqlx's driver for SQLite.

use crate::store::StoreError;
use rusqlite::{Connection, TransactionBehavior};
use sqlx::migrate::{MigrateError, Migration, Migrator};
use sqlx::postgres::PgPool;
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

/// Applies what a PostgreSQL database lacks.
pub async fn migrate_postgres(pool: &PgPool) -> Result<(), StoreError> {
    POSTGRES.run(pool).await.map_err(|error| StoreError::Migration(Box::new(error)))
}

/// Applies what an SQLite database lacks. A database that lacks nothing is not written to, so that
/// one on a full disk can be opened.
pub fn migrate_sqlite(db: &mut Connection) -> Result<(), StoreError> {
    let mut applied = read_applied(db)?;
    for migration in SQLITE.iter() {
        match applied.remove(&migration.version) {
            Some(checksum) if checksum == *migration.checksum => {}
            Some(_) => return Err(failed(MigrateError::VersionMismatch(migration.version))),
            None => apply(db, migration)?,
        }
    }
    match applied.into_keys().next() {
        Some(unknown) => Err(failed(MigrateError::VersionMissing(unknown))),
        None => Ok(()),
    }
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
    let took = i64::try_from(began.elapsed().as_nanos()).unwrap_or(i64::MAX);
    tx.execute(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (?1, ?2, TRUE, ?3, ?4)",
        (migration.version, &*migration.description, &*migration.checksum, took),
    )?;
    Ok(tx.commit()?)
}
