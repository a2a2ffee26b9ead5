//! Builds the statements of an endpoint of kind `sql` and checks the names in them.
//!
//! Names of tables and columns are quoted, and values never appear in a statement. PostgreSQL gets
//! all values of a row as one JSON object and casts each to the type of its column
//! (`json_populate_record`). MySQL and MariaDB get one text for each value.

use std::collections::BTreeMap;

/// Longest name of a table or a column, in characters. This is MySQL's limit; PostgreSQL's is
/// lower.
const MAX_NAME: usize = 64;

/// The kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlEngine {
    Postgres,
    /// MySQL or MariaDB.
    Mysql,
}

/// The write that the settings define.
#[derive(Debug, Clone, Copy)]
pub enum RowWrite<'a> {
    /// One row of a table. If there are keys, a row with the same keys is replaced.
    Row { table: &'a str, columns: &'a BTreeMap<String, String>, keys: &'a [String] },
    /// A statement with parameters such as `:total`.
    Statement { text: &'a str, parameters: &'a BTreeMap<String, String> },
}

/// The statements of an endpoint, ready to be prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WritePlan {
    /// The statement that writes the delivery.
    pub write: String,
    /// The names of the values for the parameters of `write`, in order, for MySQL. PostgreSQL has
    /// one parameter for all values.
    pub parameters: Vec<String>,
    /// The statement that records a delivery. For a recorded delivery it inserts no row
    /// (PostgreSQL) or fails as a duplicate (MySQL).
    pub inbox_insert: String,
    /// A statement that fails if the inbox does not exist.
    pub inbox_probe: String,
    /// The statement that creates the inbox.
    pub inbox_create: String,
}

impl WritePlan {
    /// Builds the statements for a server. The error says what is wrong with the settings.
    pub fn new(engine: SqlEngine, inbox: &str, write: RowWrite<'_>) -> Result<Self, String> {
        let inbox = quote_table(engine, inbox)?;
        let (write, parameters) = match write {
            RowWrite::Row { table, columns, keys } => {
                let table = quote_table(engine, table)?;
                for name in columns.keys() {
                    check_name(name)?;
                }
                let names: Vec<&str> = columns.keys().map(String::as_str).collect();
                let write = match engine {
                    SqlEngine::Postgres => postgres_row(&table, &names, keys),
                    SqlEngine::Mysql => mysql_row(&table, &names, keys),
                };
                (write, columns.keys().cloned().collect())
            }
            RowWrite::Statement { text, parameters } => read_statement(engine, text, parameters)?,
        };
        let inbox_insert = match engine {
            SqlEngine::Postgres => {
                format!("INSERT INTO {inbox} (delivery_id) VALUES ($1) ON CONFLICT DO NOTHING")
            }
            // Relies on the error for a duplicate. IGNORE would hide other faults, and on
            // connections that count found rows, ON DUPLICATE KEY reports one row in both cases.
            SqlEngine::Mysql => format!("INSERT INTO {inbox} (delivery_id) VALUES (?)"),
        };
        let transactional = if engine == SqlEngine::Mysql { " ENGINE=InnoDB" } else { "" };
        Ok(Self {
            write,
            parameters,
            inbox_insert,
            inbox_probe: format!("SELECT delivery_id FROM {inbox} WHERE delivery_id = ''"),
            inbox_create: format!(
                "CREATE TABLE IF NOT EXISTS {inbox} (delivery_id VARCHAR(64) NOT NULL PRIMARY KEY, \
                 delivered_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP){transactional}"
            ),
        })
    }
}

fn list(names: &[&str], item: impl Fn(&str) -> String) -> String {
    names.iter().map(|name| item(name)).collect::<Vec<String>>().join(", ")
}

fn is_key(name: &str, keys: &[String]) -> bool {
    keys.iter().any(|key| key == name)
}

fn postgres_row(table: &str, names: &[&str], keys: &[String]) -> String {
    let quoted = |name: &str| quote(SqlEngine::Postgres, name);
    let columns = list(names, quoted);
    let insert = format!(
        "INSERT INTO {table} ({columns}) SELECT {columns} FROM json_populate_record(NULL::{table}, $1::json)"
    );
    if keys.is_empty() {
        return insert;
    }
    let others: Vec<&str> = names.iter().copied().filter(|name| !is_key(name, keys)).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let then = if others.is_empty() {
        "NOTHING".to_owned()
    } else {
        let set = list(&others, |name| format!("{0} = EXCLUDED.{0}", quoted(name)));
        format!("UPDATE SET {set}")
    };
    format!("{insert} ON CONFLICT ({}) DO {then}", list(&keys, quoted))
}

fn mysql_row(table: &str, names: &[&str], keys: &[String]) -> String {
    let quoted = |name: &str| quote(SqlEngine::Mysql, name);
    let values = list(names, |_| "?".to_owned());
    let insert = format!("INSERT INTO {table} ({}) VALUES ({values})", list(names, quoted));
    if keys.is_empty() {
        return insert;
    }
    // MySQL decides by itself which unique key applies. The first key keeps its value.
    let others: Vec<&str> = names.iter().copied().filter(|name| !is_key(name, keys)).collect();
    let kept: Vec<&str> = keys.iter().map(String::as_str).take(1).collect();
    let set = if others.is_empty() {
        list(&kept, |name| format!("{0} = {0}", quoted(name)))
    } else {
        list(&others, |name| format!("{0} = VALUES({0})", quoted(name)))
    };
    format!("{insert} ON DUPLICATE KEY UPDATE {set}")
}

/// Quotes the name of a table, with or without its schema.
fn quote_table(engine: SqlEngine, table: &str) -> Result<String, String> {
    let (schema, name) = match table.split_once('.') {
        Some((schema, name)) => (Some(schema), name),
        None => (None, table),
    };
    for part in schema.iter().copied().chain([name]) {
        check_name(part)?;
    }
    let schema = schema.map(|schema| format!("{}.", quote(engine, schema))).unwrap_or_default();
    Ok(format!("{schema}{}", quote(engine, name)))
}

/// Checks a name. Only letters, digits, `_`, `$`, `-` and spaces are allowed.
fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_alphanumeric() || "_$- ".contains(c);
    let count = name.chars().count();
    if (1..=MAX_NAME).contains(&count) && name.chars().all(fits) {
        return Ok(());
    }
    Err(format!(
        "`{name}` is not the name of a table or a column: 1 to {MAX_NAME} letters, digits, `_`, `$`, `-` and spaces"
    ))
}

fn quote(engine: SqlEngine, name: &str) -> String {
    match engine {
        SqlEngine::Postgres => format!("\"{}\"", name.replace('"', "\"\"")),
        SqlEngine::Mysql => format!("`{}`", name.replace('`', "``")),
    }
}

/// Replaces `:name` by the server's own parameters. Returns the statement and the names in order.
fn read_statement(
    engine: SqlEngine,
    text: &str,
    parameters: &BTreeMap<String, String>,
) -> Result<(String, Vec<String>), String> {
    let mut written = String::with_capacity(text.len() + 64);
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = skipped_length(rest)?;
        if skipped > 0 {
            let (skipped, after) = rest.split_at(skipped);
            written.push_str(skipped);
            rest = after;
            continue;
        }
        if first == ';' && !rest.trim_start_matches(';').trim().is_empty() {
            return Err("write only one statement; a stored function can hold several".to_owned());
        }
        if first == '$' || first == '?' {
            return Err(format!("write parameters as `:name`, not with `{first}`"));
        }
        let name = rest.strip_prefix(':').map(parameter_name).unwrap_or_default();
        if name.is_empty() {
            written.extend((first != ';').then_some(first));
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            continue;
        }
        if !parameters.contains_key(name) {
            return Err(format!("`:{name}` is not among `columns`"));
        }
        match engine {
            // The names consist of letters, digits and `_` only.
            SqlEngine::Postgres => written.extend(["($1::json ->> '", name, "')"]),
            SqlEngine::Mysql => written.push('?'),
        }
        names.push(name.to_owned());
        rest = rest.get(1 + name.len()..).unwrap_or_default();
    }
    if engine == SqlEngine::Postgres && names.is_empty() {
        return Err("the statement uses no value of the event; write one of `columns` as `:name`"
            .to_owned());
    }
    Ok((written, names))
}

/// Returns the name at the beginning of a text, or an empty text.
fn parameter_name(text: &str) -> &str {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let name = text.get(..end).unwrap_or_default();
    if name.starts_with(|c: char| c.is_ascii_digit()) { "" } else { name }
}

/// Returns the length of the quoted text, the comment or the `::` at the beginning of a text, where
/// nothing is a parameter. Returns 0 if there is none.
fn skipped_length(text: &str) -> Result<usize, String> {
    if text.starts_with("::") {
        return Ok(2);
    }
    let (begin, end) = if text.starts_with("--") {
        let line = text.find('\n').unwrap_or(text.len());
        return Ok(line);
    } else if text.starts_with("/*") {
        ("/*", "*/")
    } else if text.starts_with('\'') {
        ("'", "'")
    } else if text.starts_with('"') {
        ("\"", "\"")
    } else if text.starts_with('`') {
        ("`", "`")
    } else {
        return Ok(0);
    };
    let inner = text.get(begin.len()..).unwrap_or_default();
    let length = inner.find(end).ok_or_else(|| format!("a {begin} has no end"))?;
    let quoted = inner.get(..length).unwrap_or_default();
    if begin == "'" && quoted.contains('\\') {
        // Whether a backslash escapes is a setting of the server.
        return Err("servers read a backslash in a string differently; leave it out".to_owned());
    }
    Ok(begin.len() + length + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &[&str]) -> BTreeMap<String, String> {
        names.iter().map(|name| ((*name).to_owned(), format!("data.{name}"))).collect()
    }

    fn row(engine: SqlEngine, table: &str, keys: &[&str]) -> Result<String, String> {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let columns = columns(&["no", "total"]);
        let write = RowWrite::Row { table, columns: &columns, keys: &keys };
        WritePlan::new(engine, "waybill_inbox", write).map(|plan| plan.write)
    }

    #[test]
    fn rows_are_inserted_or_replaced() {
        assert_eq!(
            row(SqlEngine::Postgres, "sales.in voices", &["no"]).unwrap(),
            "INSERT INTO \"sales\".\"in voices\" (\"no\", \"total\") SELECT \"no\", \"total\" \
             FROM json_populate_record(NULL::\"sales\".\"in voices\", $1::json) \
             ON CONFLICT (\"no\") DO UPDATE SET \"total\" = EXCLUDED.\"total\""
        );
        assert_eq!(
            row(SqlEngine::Mysql, "invoices", &["no"]).unwrap(),
            "INSERT INTO `invoices` (`no`, `total`) VALUES (?, ?) \
             ON DUPLICATE KEY UPDATE `total` = VALUES(`total`)"
        );
        assert!(row(SqlEngine::Postgres, "t", &["no", "total"]).unwrap().ends_with("DO NOTHING"));
        assert!(row(SqlEngine::Mysql, "t", &["no", "total"]).unwrap().ends_with("`no` = `no`"));
        assert!(!row(SqlEngine::Mysql, "t", &[]).unwrap().contains("DUPLICATE"));
    }

    #[test]
    fn a_name_cannot_end_a_statement() {
        for name in ["", "a;b", "a\"b", "a`b", "a.b.c", "a)--", "a\0b", &"x".repeat(65)] {
            for engine in [SqlEngine::Postgres, SqlEngine::Mysql] {
                assert!(row(engine, name, &[]).is_err(), "{name:?}");
            }
        }
    }

    fn statement(engine: SqlEngine, text: &str) -> Result<(String, Vec<String>), String> {
        read_statement(engine, text, &columns(&["no", "total"]))
    }

    #[test]
    fn parameters_of_a_statement_become_the_servers_own() {
        let text = "UPDATE t SET a = :total::numeric, b = ':no' -- :no\n WHERE n = :no /* :no */ AND \":no\" <> :no;";
        let (written, names) = statement(SqlEngine::Postgres, text).unwrap();
        assert_eq!(
            written,
            "UPDATE t SET a = ($1::json ->> 'total')::numeric, b = ':no' -- :no\n \
             WHERE n = ($1::json ->> 'no') /* :no */ AND \":no\" <> ($1::json ->> 'no')"
        );
        assert_eq!(names, ["total", "no", "no"]);
        let (written, names) =
            statement(SqlEngine::Mysql, "CALL pay(:no, :total, 'it''s')").unwrap();
        assert_eq!(written, "CALL pay(?, ?, 'it''s')");
        assert_eq!(names, ["no", "total"]);
    }

    #[test]
    fn anything_but_one_statement_is_refused() {
        for text in [
            "SELECT :no; DROP TABLE t",
            "SELECT :other",
            "SELECT $1",
            "SELECT ?, :no",
            "SELECT 'open",
            "SELECT '\\', :no, '",
            "SELECT /* :no",
            "DO $$ BEGIN END $$",
        ] {
            assert!(statement(SqlEngine::Mysql, text).is_err(), "{text}");
        }
        assert!(statement(SqlEngine::Postgres, "SELECT 1").is_err());
    }
}
