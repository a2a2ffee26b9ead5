//! SQLite without a hop for every statement.
//!
//! sqlx runs each statement of SQLite in another thread, which costs two wake-ups: a tenth of all
//! processor time at full load, measured. The group commit crosses over once instead: a thread with
//! a connection of its own takes all operations of a transaction, writes them and gives them back.
//!
//! [`SqliteQuery`] takes the place of sqlx's in statements that both run, so that there is one text
//! and one list of bindings for them (see [`batching`](super::batch::batching)). Whoever writes
//! holds [`DatabasePool`](super::pool::DatabasePool)'s turn, so the two connections never wait for SQLite's lock.

use super::batch::WriteBatch;
use super::checkpoint::WalCheckpointer;
use super::database_file::DatabaseFile;
use super::value::{BoundRow, BoundValue};
use super::writer::{WriteOperation, WriteResults, write_all};
use super::{StoreError, pool, readiness};
use futures_util::FutureExt as _;
use rusqlite::types::{FromSql as _, ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, ErrorCode, ToSql};
use sqlx::types::Uuid;
use std::future::{Ready, ready};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Prepared statements that are kept: more than there are.
const STATEMENTS: usize = 64;

/// Operations of one transaction on their way, with what came of it on the way back.
type BatchCrossing =
    (Vec<WriteOperation>, oneshot::Sender<(Vec<WriteOperation>, Result<WriteResults, StoreError>)>);

/// The thread that writes. It ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct SqliteThread {
    sender: mpsc::Sender<BatchCrossing>,
}

impl SqliteThread {
    /// Starts the thread; it opens the database at its first transaction.
    pub fn start(file: &Arc<DatabaseFile>) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel(1);
        let checkpointer = WalCheckpointer::start(Arc::clone(file))?;
        let file = Arc::clone(file);
        std::thread::Builder::new()
            .name("journal-writer".to_owned())
            .spawn(move || run_thread(&file, checkpointer, receiver))?;
        Ok(Self { sender })
    }

    /// Writes the operations as one transaction; they come back either way.
    pub async fn write(
        &self,
        ops: Vec<WriteOperation>,
    ) -> (Vec<WriteOperation>, Result<WriteResults, StoreError>) {
        let (reply, answer) = oneshot::channel();
        if let Err(mpsc::error::SendError((ops, _))) = self.sender.send((ops, reply)).await {
            return (ops, Err(StoreError::Closed));
        }
        answer.await.unwrap_or_else(|_gone| (Vec::new(), Err(StoreError::Closed)))
    }
}

fn run_thread(
    file: &DatabaseFile,
    mut checkpointer: WalCheckpointer,
    mut receiver: mpsc::Receiver<BatchCrossing>,
) {
    let mut connection = None;
    while let Some((mut ops, reply)) = receiver.blocking_recv() {
        let written = run_transaction(file, &mut connection, &mut ops);
        if written.is_err() {
            // Closing rolls back whatever state a full disk left it in.
            connection = None;
        }
        // A writer that does not wait any more is one of a stopping server.
        drop(reply.send((ops, written)));
        if let Some(db) = &connection {
            checkpointer.committed(db);
        }
    }
}

fn run_transaction(
    file: &DatabaseFile,
    connection: &mut Option<Connection>,
    ops: &mut [WriteOperation],
) -> Result<WriteResults, StoreError> {
    file.check_in_place()?;
    let db = match connection {
        Some(db) => db,
        None => connection.insert(open_connection(file.path()).inspect(WalCheckpointer::watch)?),
    };
    db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let mut batch = WriteBatch::Native(db);
    // Nothing waits on this connection: all is done when the first poll returns.
    let done = write_all(&mut batch, ops).now_or_never().unwrap_or(Err(StoreError::Closed))?;
    let WriteBatch::Native(db) = batch else { return Err(StoreError::Closed) };
    db.prepare_cached("COMMIT")?.execute([])?;
    // Once more: where the file went meanwhile, what was committed is gone with it.
    file.check_in_place()?;
    Ok(done)
}

/// A connection of the journal's own.
pub fn open_connection(path: &std::path::Path) -> Result<Connection, rusqlite::Error> {
    let db = Connection::open(path)?;
    db.busy_timeout(pool::PATIENCE)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    for (name, value) in pool::SQLITE_PRAGMAS {
        db.pragma_update(None, name, value)?;
    }
    Ok(db)
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use ErrorCode::{ConstraintViolation, TooBig, TypeMismatch};
        use ErrorCode::{DatabaseCorrupt, NotADatabase};
        if matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase)) {
            readiness::note_damage();
        }
        let refused =
            matches!(error.sqlite_error_code(), Some(ConstraintViolation | TooBig | TypeMismatch));
        if refused {
            Self::Refused(sqlx::Error::InvalidArgument(error.to_string()))
        } else {
            Self::Unavailable(sqlx::Error::Io(std::io::Error::other(error)))
        }
    }
}

impl ToSql for BoundValue<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
            Self::Id(id) => ValueRef::Blob(id.as_bytes()),
        }))
    }
}

/// Runs a statement with each row's values as `?1`, `?2`, …; how many rows of the table changed.
pub fn run(db: &Connection, text: &str, rows: &[BoundRow<'_>]) -> Result<u64, StoreError> {
    let mut statement = db.prepare_cached(text)?;
    let mut changed = 0;
    for row in rows {
        bind_in_order(&mut statement, row)?;
        changed += statement.raw_execute()? as u64;
    }
    Ok(changed)
}

/// As [`run`], and gives what the statement returns for all of them.
pub fn fetch<T: DecodeRow>(
    db: &Connection,
    text: &str,
    rows: &[BoundRow<'_>],
) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    let mut statement = db.prepare_cached(text)?;
    for row in rows {
        bind_in_order(&mut statement, row)?;
        let mut returned = statement.raw_query();
        while let Some(row) = returned.next()? {
            found.push(T::decode(row)?);
        }
    }
    Ok(found)
}

fn bind_in_order(
    statement: &mut CachedStatement<'_>,
    row: &BoundRow<'_>,
) -> Result<(), rusqlite::Error> {
    for (n, value) in row.values().iter().enumerate() {
        statement.raw_bind_parameter(n + 1, value)?;
    }
    Ok(())
}

/// A statement and its values.
#[derive(Debug)]
pub struct SqliteQuery<'q> {
    text: &'static str,
    values: BoundRow<'q>,
}

/// A statement, as `sqlx::query`.
pub fn query<'q>(text: &'static str) -> SqliteQuery<'q> {
    SqliteQuery { text, values: BoundRow::new() }
}

/// A statement that returns rows, as `sqlx::query_as`.
pub fn query_as<'q>(text: &'static str) -> SqliteQuery<'q> {
    query(text)
}

/// How many rows a statement changed.
#[derive(Debug)]
pub struct ChangedRows(usize);

impl ChangedRows {
    /// As sqlx has it.
    pub const fn rows_affected(&self) -> u64 {
        self.0 as u64
    }
}

impl<'q> SqliteQuery<'q> {
    /// The next parameter.
    pub fn bind(self, value: impl Into<BoundValue<'q>>) -> Self {
        Self { values: self.values.bind(value), ..self }
    }

    /// Runs it.
    pub fn execute(self, db: &mut Connection) -> Ready<Result<ChangedRows, StoreError>> {
        ready(self.run(db))
    }

    /// Runs it and gives its first row, if there is one.
    pub fn fetch_optional<T: DecodeRow>(
        self,
        db: &mut Connection,
    ) -> Ready<Result<Option<T>, StoreError>> {
        ready(self.first(db))
    }

    fn run(self, db: &Connection) -> Result<ChangedRows, StoreError> {
        let mut statement = db.prepare_cached(self.text)?;
        self.bind_all(&mut statement)?;
        Ok(ChangedRows(statement.raw_execute()?))
    }

    fn first<T: DecodeRow>(self, db: &Connection) -> Result<Option<T>, StoreError> {
        let mut statement = db.prepare_cached(self.text)?;
        self.bind_all(&mut statement)?;
        let mut rows = statement.raw_query();
        Ok(rows.next()?.map(T::decode).transpose()?)
    }

    /// To SQLite `$2` is a name, numbered by where it first stands; here it is the second value.
    fn bind_all(&self, statement: &mut CachedStatement<'_>) -> Result<(), rusqlite::Error> {
        for index in 1..=statement.parameter_count() {
            let named =
                statement.parameter_name(index).and_then(|name| name.get(1..)?.parse().ok());
            let number: usize = named.unwrap_or(index);
            statement.raw_bind_parameter(index, self.values.get(number - 1))?;
        }
        Ok(())
    }
}

/// What a row is read into.
pub trait DecodeRow: Sized {
    /// Reads a row.
    fn decode(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self>;
}

macro_rules! tuples {
    ($($($type:ident $index:tt),+;)*) => {$(
        impl<$($type: DecodeColumn),+> DecodeRow for ($($type,)+) {
            fn decode(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
                Ok(($($type::column(row, $index)?,)+))
            }
        }
    )*};
}

tuples! {
    A 0;
    A 0, B 1;
    A 0, B 1, C 2;
    A 0, B 1, C 2, D 3;
}

/// What a column is read into.
pub trait DecodeColumn: Sized {
    /// Reads a column.
    fn column(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<Self>;
}

macro_rules! columns {
    ($($type:ty)*) => {$(
        impl DecodeColumn for $type {
            fn column(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<Self> {
                row.get(index)
            }
        }
    )*};
}

columns! { i32 i64 String Vec<u8> }

impl DecodeColumn for Uuid {
    fn column(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<Self> {
        <[u8; 16]>::column_result(row.get_ref(index)?).map(Self::from_bytes).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(
                index,
                rusqlite::types::Type::Blob,
                error.into(),
            )
        })
    }
}
