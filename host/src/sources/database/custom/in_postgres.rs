//! Reads custom tables from PostgreSQL. The server turns rows into JSON, so values keep their types
//! and numbers all their digits.

use super::super::super::RunFailed;
use super::super::super::rows::RowFields;
use super::super::postgres::PostgresConnection;
use super::server::{RowChunk, RowSelection, id};
use super::table::{CustomColumn, DescribedTable, ReadableTable, UniqueIndex};
use serde_json::value::RawValue;

/// A table and its columns. Reads `pg_catalog`, because `information_schema` hides indexes from
/// users who do not own the table.
const COLUMNS: &str = "SELECT c.oid::text, quote_ident(n.nspname) || '.' || quote_ident(c.relname), \
    (c.relkind = 'r' AND EXISTS (SELECT 1 FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid))::text, \
    a.attname::text, pg_catalog.format_type(a.atttypid, -1), a.attnotnull::text \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
    WHERE c.relname::text = $2 AND c.relkind IN ('r', 'p') \
    AND CASE WHEN $1::text IS NULL THEN pg_catalog.pg_table_is_visible(c.oid) ELSE n.nspname::text = $1::text END \
    ORDER BY a.attnum";

/// A table's unique indexes without a condition. Before PostgreSQL 11 all columns of an index
/// belong to its key. A column that is indexed in another order than the one in which rows are read
/// gets an altered name. The schema of the operators is read too, because it may not be in the
/// search path.
const UNIQUES: &str = "SELECT i.indexrelid::text, i.indisprimary::text, a.attname::text \
    || CASE WHEN i.indcollation[k] = a.attcollation AND EXISTS (SELECT 1 FROM pg_catalog.pg_opclass d \
        WHERE d.opcdefault AND d.opcfamily = o.opcfamily AND d.opcintype = o.opcintype) \
        THEN '' ELSE ' (in another order)' END, \
    (SELECT quote_ident(n.nspname) FROM pg_catalog.pg_amop m \
        JOIN pg_catalog.pg_operator p ON p.oid = m.amopopr \
        JOIN pg_catalog.pg_namespace n ON n.oid = p.oprnamespace WHERE m.amopfamily = o.opcfamily \
        AND m.amoplefttype = o.opcintype AND m.amoprighttype = o.opcintype AND m.amopstrategy = 5) \
    FROM pg_catalog.pg_index i \
    CROSS JOIN LATERAL generate_series(0, coalesce((row_to_json(i) ->> 'indnkeyatts')::int, i.indnatts) - 1) k \
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k] \
    JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[k] \
    WHERE i.indrelid = $1::text::oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL \
    AND i.indexprs IS NULL ORDER BY i.indexrelid, k";

/// Reads the columns and unique indexes of a table. A table that does not exist has no columns.
pub async fn describe_tables(
    db: &mut PostgresConnection,
    (schema, name): (Option<&str>, &str),
) -> Result<DescribedTable, RunFailed> {
    let mut described = DescribedTable::default();
    let mut oid = None;
    for row in db.select_rows(COLUMNS.to_owned(), &[schema, Some(name)]).await?.rows {
        let Ok([table, from, heirs, name, kind, not_null]) = <[_; 6]>::try_from(row) else {
            continue;
        };
        let nullable = not_null.as_deref() != Some("true");
        described.columns.push(CustomColumn {
            name: name.unwrap_or_default(),
            kind: kind.unwrap_or_default(),
            nullable,
        });
        described.from = from.unwrap_or_default();
        described.has_heirs = heirs.as_deref() == Some("true");
        oid = table;
    }
    let mut last = None;
    for row in db.select_rows(UNIQUES.to_owned(), &[oid.as_deref()]).await?.rows {
        let Ok([index, primary, column, operators]) = <[_; 4]>::try_from(row) else { continue };
        if index != last {
            let is_primary = primary.as_deref() == Some("true");
            described.uniques.push(UniqueIndex { columns: Vec::new(), is_primary, operators });
            last = index;
        }
        if let Some(unique) = described.uniques.last_mut() {
            unique.columns.extend(column);
        }
    }
    Ok(described)
}

/// Reads rows, each as one JSON object.
pub async fn read_rows(
    db: &mut PostgresConnection,
    table: &ReadableTable,
    which: RowSelection<'_>,
    only_key: bool,
) -> Result<RowChunk, RunFailed> {
    let columns = if only_key { std::slice::from_ref(&table.key) } else { &table.columns };
    let (value, limit) = match which {
        RowSelection::Next(after, limit) | RowSelection::Past(after, _, limit) => {
            (after.map(str::to_owned), limit)
        }
        RowSelection::Last => (None, 1),
        RowSelection::These(ids) => (serde_json::to_string(ids).ok(), usize::MAX),
    };
    let text = statement(table, columns, which);
    let found = db.select_rows(text, value.as_deref().map(Some).as_slice()).await?;
    let has_more = found.is_cut || found.rows.len() == limit;
    let read = |cells: Vec<Option<String>>| {
        let text = cells.into_iter().next().flatten().unwrap_or_default();
        serde_json::from_str::<RowFields>(&text).map_err(|why| {
            RunFailed::of_content(format!("the database's answer is not JSON: {why}"))
        })
    };
    let contents = found.rows.into_iter().map(read).collect::<Result<_, RunFailed>>()?;
    Ok(RowChunk { bytes: found.bytes, has_more, ..RowChunk::of(table, contents)? })
}

/// Returns the statement that reads rows. It uses `read.*`, because a column may be called `read`.
fn statement(table: &ReadableTable, columns: &[CustomColumn], which: RowSelection<'_>) -> String {
    let names: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
    let (names, from) = (names.join(", "), &table.from);
    let (key, kind, operators) = (quoted(&table.key.name), &table.key.kind, operators(table));
    let (condition, order) = match which {
        RowSelection::Next(None, _) | RowSelection::Past(None, ..) => (String::new(), ""),
        RowSelection::Next(Some(_), _) | RowSelection::Past(Some(_), ..) => {
            (format!("WHERE {key} OPERATOR({operators}.>) $1::text::{kind}"), "")
        }
        RowSelection::Last => (String::new(), " DESC"),
        RowSelection::These(_) => {
            (format!("WHERE {key} OPERATOR({operators}.=) ANY ({IDS}::{kind}[])"), "")
        }
    };
    let limit = match which {
        RowSelection::Next(_, limit) => format!(" LIMIT {limit}"),
        RowSelection::Past(_, skip, limit) => format!(" LIMIT {limit} OFFSET {skip}"),
        RowSelection::Last => " LIMIT 1".to_owned(),
        RowSelection::These(_) => String::new(),
    };
    format!(
        "SELECT row_to_json(read.*)::text FROM (SELECT {names} FROM {from} {condition} \
         ORDER BY {key}{order}{limit}) read ORDER BY read.{key}{order}"
    )
}

/// Turns the statement's parameter, a JSON array of strings, into an SQL array.
const IDS: &str = "ARRAY(SELECT json_array_elements_text($1::text::json))";

fn operators(table: &ReadableTable) -> &str {
    table.operators.as_deref().unwrap_or("pg_catalog")
}

/// Returns the ids, among these, of rows that exist.
pub async fn existing_keys(
    db: &mut PostgresConnection,
    table: &ReadableTable,
    ids: &[String],
) -> Result<Vec<String>, RunFailed> {
    let (key, kind, from) = (quoted(&table.key.name), &table.key.kind, &table.from);
    let operators = operators(table);
    let wanted = serde_json::to_string(ids).unwrap_or_default();
    let select = format!("SELECT to_json({key})::text FROM {from} WHERE");
    let by_key = format!("{select} {key} OPERATOR({operators}.=) ANY ({IDS}::{kind}[])");
    let mut found = db.select_fitting(by_key, &[Some(&wanted)]).await?;
    if found.is_none() {
        // The type of the column was changed after these rows were stored. Comparing texts is slow,
        // but it does not fail for values that the column cannot hold any more.
        let by_text = format!("{select} to_json({key}) #>> '{{}}' = ANY ({IDS})");
        found = Some(db.select_rows(by_text, &[Some(&wanted)]).await?);
    }
    let read = |cells: Vec<Option<String>>| {
        let value = RawValue::from_string(cells.into_iter().next()??).ok()?;
        id(table, &value)
    };
    Ok(found.unwrap_or_default().rows.into_iter().filter_map(read).collect())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_end_its_quotes() {
        assert_eq!(quoted(r#"a"b"#), r#""a""b""#);
        let key = CustomColumn {
            name: r#"no"; DROP TABLE x; --"#.to_owned(),
            kind: "character varying".to_owned(),
            nullable: false,
        };
        let table = ReadableTable {
            list: String::new(),
            resource: String::new(),
            from: r#""s"."t""#.to_owned(),
            columns: vec![key.clone()],
            key,
            operators: None,
            exclude: Vec::new(),
            uniques: Vec::new(),
        };
        let text = statement(&table, &table.columns, RowSelection::Next(Some("17"), 5));
        let name = r#""no""; DROP TABLE x; --""#;
        assert_eq!(
            text,
            format!(
                "SELECT row_to_json(read.*)::text FROM (SELECT {name} FROM \"s\".\"t\" \
                 WHERE {name} OPERATOR(pg_catalog.>) $1::text::character varying ORDER BY {name} LIMIT 5) read ORDER BY read.{name}"
            )
        );
    }
}
