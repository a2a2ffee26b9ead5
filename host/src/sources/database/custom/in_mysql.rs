//! Reads custom tables from MySQL or MariaDB. The server returns texts, which this module turns
//! into JSON according to the types of the columns.
//!
//! Rows are read in the order of the key. For a text that is the order of the column's collation.
//! The unique index uses the same collation, so no two keys are equal in it and no row is skipped.

use super::super::super::RunFailed;
use super::super::super::rows::RowFields;
use super::super::mysql::{MysqlCells, MysqlConnection, hexadecimal, quoted, text_at};
use super::super::pace;
use super::cell;
use super::server::{RowChunk, RowSelection, id};
use super::table::{CustomColumn, DescribedTable, ReadableTable, UniqueIndex};
use crate::model::database_source::DatabaseSettings;

/// Connects. Timestamps are returned in UTC, in which no hour occurs twice.
pub async fn connect_mysql(
    settings: &DatabaseSettings,
    secret: Option<&str>,
) -> Result<MysqlConnection, RunFailed> {
    let mut db = MysqlConnection::connect(settings, secret).await?;
    db.execute("SET SESSION time_zone = '+00:00', sql_quote_show_create = 1").await?;
    Ok(db)
}

/// Reads the columns and unique indexes of a table. A table that does not exist has no columns.
pub async fn describe_tables(
    db: &mut MysqlConnection,
    (schema, name): (Option<&str>, &str),
) -> Result<DescribedTable, RunFailed> {
    let from = schema.map(|schema| format!("{}.", quoted(schema))).unwrap_or_default();
    let place = schema.map_or_else(|| "DATABASE()".to_owned(), hexadecimal);
    let condition = format!("TABLE_SCHEMA = {place} AND TABLE_NAME = {}", hexadecimal(name));
    // The catalogue may treat `Orders` and `orders` as equal.
    let is_it = |row: &MysqlCells| text_at(row, 0).as_deref() == Some(name);
    let from = format!("{from}{}", quoted(name));
    let text = format!(
        "SELECT c.TABLE_NAME, c.COLUMN_NAME, c.DATA_TYPE, c.IS_NULLABLE FROM information_schema.COLUMNS c \
         JOIN information_schema.TABLES t USING (TABLE_SCHEMA, TABLE_NAME) \
         WHERE {condition} AND t.TABLE_TYPE NOT LIKE '%VIEW' ORDER BY c.ORDINAL_POSITION"
    );
    let found = db.select_rows(text).await?;
    let made = if found.rows.is_empty() { String::new() } else { made(db, &from).await? };
    let column = |row: &MysqlCells| {
        let name = text_at(row, 1)?;
        let is_json = made.contains(&format!("CHECK (json_valid({}))", quoted(&name)));
        let kind = if is_json { "json".to_owned() } else { text_at(row, 2)?.to_lowercase() };
        Some(CustomColumn { name, kind, nullable: text_at(row, 3)? != "NO" })
    };
    let columns = found.rows.iter().filter(|row| is_it(row)).filter_map(column).collect();
    let text = format!(
        "SELECT TABLE_NAME, INDEX_NAME, COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS \
         WHERE {condition} AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX"
    );
    let mut uniques: Vec<(String, UniqueIndex)> = Vec::new();
    for row in db.select_rows(text).await?.rows.iter().filter(|row| is_it(row)) {
        let index = text_at(row, 1).unwrap_or_default();
        if uniques.last().is_none_or(|(last, _)| *last != index) {
            let is_primary = index == "PRIMARY";
            uniques.push((index, UniqueIndex { is_primary, ..UniqueIndex::default() }));
        }
        // An index on a prefix of a column does not make the column unique, so the name is altered.
        let part = text_at(row, 3).map(|part| format!("(the first {part} characters)"));
        let column = text_at(row, 2).unwrap_or_default() + &part.unwrap_or_default();
        if let Some((_, unique)) = uniques.last_mut() {
            unique.columns.push(column);
        }
    }
    let uniques = uniques.into_iter().map(|(_, unique)| unique).collect();
    Ok(DescribedTable { from, columns, uniques, has_heirs: false })
}

/// Returns the statement that creates the table. In MariaDB a JSON column is a text with a check,
/// and this statement is the only place where a user with SELECT sees that. A user with rights on
/// single columns does not see it, so their JSON columns are read as texts.
async fn made(db: &mut MysqlConnection, from: &str) -> Result<String, RunFailed> {
    let found = db.select_permitted(format!("SHOW CREATE TABLE {from}")).await?;
    Ok(found.rows.first().and_then(|row| text_at(row, 1)).unwrap_or_default())
}

/// Fails if rows cannot be read in the order of the key.
pub fn check(table: &ReadableTable) -> Result<(), RunFailed> {
    let CustomColumn { name, kind, .. } = &table.key;
    if cell::literal(kind, "0").is_some() {
        return Ok(());
    }
    Err(RunFailed::new(format!(
        "its key `{name}` is of the type {kind}, by whose order rows cannot be read one after the other; name \
         another by `key`: a number, text, date or uuid"
    )))
}

/// Reads rows in the order of the key.
pub async fn read_rows(
    db: &mut MysqlConnection,
    table: &ReadableTable,
    which: RowSelection<'_>,
    only_key: bool,
) -> Result<RowChunk, RunFailed> {
    let columns = if only_key { std::slice::from_ref(&table.key) } else { &table.columns };
    let Some((limit, text)) = statement(table, columns, which)? else {
        return Ok(RowChunk::default());
    };
    let found = db.select_some_rows(text, pace::BYTES).await?;
    let has_more = found.is_cut || found.rows.len() == limit;
    let read = |cells: MysqlCells| {
        // The first column is the key, and is skipped. It is selected in addition because the
        // client library takes a packet that begins with a long value for the end of the answer.
        let values = columns.iter().zip(cells.into_iter().skip(1));
        values
            .map(|(column, value)| {
                let value = if *column == table.key { value } else { cell::dated(column, value) };
                (column.name.clone(), cell::json(&column.kind, value))
            })
            .collect::<RowFields>()
    };
    let contents = found.rows.into_iter().map(read).collect();
    Ok(RowChunk { bytes: found.bytes, has_more, ..RowChunk::of(table, contents)? })
}

/// Returns a column as it stands after `SELECT`. The text of a `FLOAT` is rounded, so it is
/// converted to a double first.
fn selected(column: &CustomColumn) -> String {
    let name = quoted(&column.name);
    if column.kind == "float" { format!("{name} + 0e0") } else { name }
}

/// Returns the most rows that the statement can return, and the statement. Returns `None` if the
/// column can hold none of the keys.
fn statement(
    table: &ReadableTable,
    columns: &[CustomColumn],
    which: RowSelection<'_>,
) -> Result<Option<(usize, String)>, RunFailed> {
    let names: Vec<String> = columns.iter().map(selected).collect();
    let (names, from, key) = (names.join(", "), &table.from, quoted(&table.key.name));
    let skip = if let RowSelection::Past(_, skip, _) = which { skip } else { 0 };
    let (condition, order, limit) = match which {
        RowSelection::Next(None, limit) | RowSelection::Past(None, _, limit) => {
            (String::new(), "", limit)
        }
        RowSelection::Next(Some(after), limit) | RowSelection::Past(Some(after), _, limit) => {
            let after = cell::literal(&table.key.kind, after);
            let after = after.ok_or_else(|| RunFailed::new("a key cannot be asked for again"))?;
            (format!("WHERE {key} > {after}"), "", limit)
        }
        RowSelection::Last => (String::new(), " DESC", 1),
        RowSelection::These(ids) => {
            let Some(wanted) = literals(table, ids) else { return Ok(None) };
            (format!("WHERE {key} IN ({wanted})"), "", usize::MAX)
        }
    };
    let text = format!(
        "SELECT {key}, {names} FROM {from} {condition} ORDER BY {key}{order} LIMIT {skip}, {limit}"
    );
    Ok(Some((limit, text)))
}

/// Returns a list of keys for a statement, without those that the column cannot hold any more.
/// Returns `None` if no key is left.
fn literals(table: &ReadableTable, ids: &[String]) -> Option<String> {
    let wanted = ids.iter().filter_map(|id| cell::literal(&table.key.kind, id));
    Some(wanted.collect::<Vec<_>>().join(", ")).filter(|wanted| !wanted.is_empty())
}

/// Returns the ids, among these, of rows that exist.
pub async fn existing_keys(
    db: &mut MysqlConnection,
    table: &ReadableTable,
    ids: &[String],
) -> Result<Vec<String>, RunFailed> {
    let Some(wanted) = literals(table, ids) else { return Ok(Vec::new()) };
    let (key, from) = (quoted(&table.key.name), &table.from);
    let text = format!("SELECT {key} FROM {from} WHERE {key} IN ({wanted})");
    let found = db.select_rows(text).await?;
    let read =
        |cells: MysqlCells| id(table, &cell::json(&table.key.kind, cells.into_iter().next()?));
    Ok(found.rows.into_iter().filter_map(read).collect())
}
