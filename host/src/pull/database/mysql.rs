//! The CRM's database: MySQL or MariaDB, read with one connection in transactions that cannot write.
//!
//! Statements go as plain text, for which the server answers with every value as text, as the rules want them.
//! What stands in a statement is a name out of [`crate::crm::tables`], a number, or text in hexadecimal.

use super::super::Failed;
use crate::crm::known::Reference;
use crate::crm::lists;
use crate::crm::options::{self, Options};
use crate::crm::row::{Cell, Row};
use crate::crm::tables::{self, List, Table};
use crate::domain::database::DatabaseSettings;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::str::FromStr as _;
use std::time::Duration;

/// How long connecting, and how long one statement may take.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(2));
/// Values in one look-up.
const LOOK_UP: usize = 500;

/// A connection to the CRM's database.
#[derive(Debug)]
pub(super) struct Crm {
    db: MySqlConnection,
    prefix: String,
}

/// The tables that are there, without prefix, with their columns.
#[derive(Debug)]
pub(super) struct Shape(HashMap<String, Vec<String>>);

impl Shape {
    /// The columns of a table, if it is there.
    pub(super) fn columns(&self, table: &str) -> Option<&[String]> {
        self.0.get(table).map(Vec::as_slice)
    }

    fn of(&self, table: &Table) -> Vec<Cow<'static, str>> {
        table.columns_in(self.columns(table.name).unwrap_or_default())
    }

    /// The columns of a list that are there; none where it cannot be read.
    fn of_list(&self, list: &List) -> Option<Vec<Cow<'static, str>>> {
        let existing = self.columns(list.table)?;
        let is_there = |name: &str| existing.iter().any(|column| column == name);
        if !is_there(list.parent) || !list.of.is_none_or(|(column, _)| is_there(column)) {
            return None;
        }
        let columns = list.columns.iter().copied().filter(|name| is_there(name));
        Some(columns.map(Cow::Borrowed).collect())
    }
}

impl Crm {
    /// Connects, and gives up the right to write.
    pub(super) async fn connect(
        settings: &DatabaseSettings,
        secret: Option<&str>,
    ) -> Result<Self, Failed> {
        let url = settings.url.replacen("mariadb://", "mysql://", 1);
        let options = MySqlConnectOptions::from_str(&url)
            .map_err(|_opaque| Failed::new("the source's `url` cannot be read"))?;
        let options = secret.map_or(options.clone(), |secret| options.password(secret));
        let options = options.disable_statement_logging();
        let db = match tokio::time::timeout(PATIENCE.0, options.connect()).await {
            Ok(Ok(db)) => db,
            Ok(Err(error)) => return Err(failed(&error)),
            Err(_) => {
                return Err(Failed::new("the database did not answer within 10 s; look at `url`"));
            }
        };
        let mut crm = Self { db, prefix: settings.prefix.clone() };
        crm.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
        // So that a statement that was given up does not run on: MariaDB's word for it, and MySQL's.
        for limit in
            ["SET SESSION max_statement_time = 120", "SET SESSION max_execution_time = 120000"]
        {
            drop(crm.execute(limit).await);
        }
        Ok(crm)
    }

    async fn select(&mut self, text: String) -> Result<Vec<MySqlRow>, Failed> {
        let asked = sqlx::raw_sql(AssertSqlSafe(text)).fetch_all(&mut self.db);
        match tokio::time::timeout(PATIENCE.1, asked).await {
            Ok(rows) => rows.map_err(|error| failed(&error)),
            Err(_) => Err(Failed::new("the database took longer than 2 minutes for one statement")),
        }
    }

    async fn execute(&mut self, text: &str) -> Result<(), Failed> {
        self.select(text.to_owned()).await.map(drop)
    }

    fn table(&self, name: &str) -> String {
        quoted(&format!("{}{name}", self.prefix))
    }

    /// What the CRM's own settings say; the defaults where there is no such table.
    pub(super) async fn options(&mut self, shape: &Shape) -> Result<Options, Failed> {
        if shape.columns("options").is_none() {
            return Ok(Options::default());
        }
        let names: Vec<String> = options::NAMES.iter().map(|name| hexadecimal(name)).collect();
        let text = format!(
            "SELECT `name`, `value` FROM {} WHERE `name` IN ({})",
            self.table("options"),
            names.join(", ")
        );
        let rows = self.select(text).await?;
        let pairs: Vec<(String, String)> = rows
            .iter()
            .filter_map(|row| Some((text_at(row, 0).ok()??, text_at(row, 1).ok()??)))
            .collect();
        Ok(Options::read(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
    }

    /// Which tables are there, with which columns.
    pub(super) async fn shape(&mut self) -> Result<Shape, Failed> {
        let of_lists = tables::ALL.iter().flat_map(|table| table.lists).map(|list| list.table);
        let names = tables::ALL.iter().map(|table| table.name).chain(of_lists).chain(["options"]);
        let names: Vec<String> =
            names.map(|name| hexadecimal(&format!("{}{name}", self.prefix))).collect();
        let text = format!(
            "SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN ({}) ORDER BY TABLE_NAME, ORDINAL_POSITION",
            names.join(", ")
        );
        let mut found: HashMap<String, Vec<String>> = HashMap::new();
        for row in self.select(text).await? {
            if let (Some(table), Some(column)) = (text_at(&row, 0)?, text_at(&row, 1)?) {
                let name = table.get(self.prefix.len()..).unwrap_or_default();
                found.entry(name.to_owned()).or_default().push(column);
            }
        }
        Ok(Shape(found))
    }

    /// The greatest key of a table.
    pub(super) async fn greatest(&mut self, table: &Table) -> Result<Option<i64>, Failed> {
        let text = format!("SELECT MAX({}) FROM {}", quoted(table.key), self.table(table.name));
        let rows = self.select(text).await?;
        let greatest = rows.first().map(|row| text_at(row, 0)).transpose()?.flatten();
        Ok(greatest.and_then(|key| key.parse().ok()))
    }

    /// The rows with the next keys, lists and all, as they are at one moment.
    pub(super) async fn chunk(
        &mut self,
        shape: &Shape,
        table: &'static Table,
        above: i64,
        limit: usize,
    ) -> Result<BTreeMap<i64, Row>, Failed> {
        let columns = shape.of(table);
        let condition = format!("{} > {above}", quoted(table.key));
        let tail = format!("ORDER BY {} LIMIT {limit}", quoted(table.key));
        self.snapshot(shape, table, &columns, &condition, &tail).await
    }

    /// The newest row of a table.
    pub(super) async fn newest(
        &mut self,
        shape: &Shape,
        table: &'static Table,
    ) -> Result<Option<Row>, Failed> {
        let columns = shape.of(table);
        let tail = format!("ORDER BY {} DESC LIMIT 1", quoted(table.key));
        let rows = self.snapshot(shape, table, &columns, "1 = 1", &tail).await?;
        Ok(rows.into_values().next())
    }

    /// The keys that come next, of a table of which only new rows matter.
    pub(super) async fn keys(
        &mut self,
        table: &'static Table,
        above: i64,
        limit: usize,
    ) -> Result<BTreeMap<i64, Row>, Failed> {
        let key = quoted(table.key);
        let tail = format!("ORDER BY {key} LIMIT {limit}");
        let columns = [Cow::Borrowed(table.key)];
        let rows = self.rows(table.name, &columns, &format!("{key} > {above}"), &tail).await?;
        keyed(table, rows)
    }

    /// The rows with these keys, lists and all.
    pub(super) async fn with_keys(
        &mut self,
        shape: &Shape,
        table: &'static Table,
        keys: &[i64],
    ) -> Result<BTreeMap<i64, Row>, Failed> {
        let mut found = BTreeMap::new();
        for keys in keys.chunks(LOOK_UP) {
            let list: Vec<String> = keys.iter().map(i64::to_string).collect();
            let condition = format!("{} IN ({})", quoted(table.key), list.join(", "));
            let columns = shape.of(table);
            found.extend(self.snapshot(shape, table, &columns, &condition, "").await?);
        }
        Ok(found)
    }

    async fn snapshot(
        &mut self,
        shape: &Shape,
        table: &'static Table,
        columns: &[Cow<'static, str>],
        condition: &str,
        tail: &str,
    ) -> Result<BTreeMap<i64, Row>, Failed> {
        let has_lists = !table.lists.is_empty();
        if has_lists {
            self.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await?;
        }
        let rows = self.rows(table.name, columns, condition, tail).await?;
        let mut rows = keyed(table, rows)?;
        for list in table.lists {
            self.attach(shape, list, &mut rows).await?;
        }
        if has_lists {
            self.execute("COMMIT").await?;
        }
        Ok(rows)
    }

    async fn attach(
        &mut self,
        shape: &Shape,
        list: &'static List,
        rows: &mut BTreeMap<i64, Row>,
    ) -> Result<(), Failed> {
        let bounds = rows.first_key_value().zip(rows.last_key_value());
        let Some(((first, _), (greatest, _))) = bounds else { return Ok(()) };
        let Some(mut columns) = shape.of_list(list) else { return Ok(()) };
        let parent = quoted(list.parent);
        let mut condition = format!("{parent} BETWEEN {first} AND {greatest}");
        if let Some((name, value)) = list.of {
            condition = format!("{condition} AND {} = {}", quoted(name), text(value));
        }
        if !columns.iter().any(|name| name == list.parent) {
            columns.push(Cow::Borrowed(list.parent));
        }
        let mut members: HashMap<i64, Vec<Row>> = HashMap::new();
        for member in self.rows(list.table, &columns, &condition, "").await? {
            if let Some(key) = member.text(list.parent).and_then(|key| key.parse().ok()) {
                members.entry(key).or_default().push(member);
            }
        }
        for (key, row) in rows {
            lists::attach(list, row, members.remove(key).unwrap_or_default());
        }
        Ok(())
    }

    /// The rows that were asked for, without their lists.
    pub(super) async fn look_up(
        &mut self,
        shape: &Shape,
        references: &[Reference],
    ) -> Result<HashMap<Reference, Vec<Row>>, Failed> {
        let mut found: HashMap<Reference, Vec<Row>> = HashMap::new();
        let mut groups: BTreeMap<(&'static str, &'static str), Vec<&str>> = BTreeMap::new();
        for reference in references {
            found.entry(reference.clone()).or_default();
            groups.entry((reference.table, reference.column)).or_default().push(&reference.value);
        }
        for ((name, column), values) in groups {
            let Some(table) = tables::find(name).filter(|_| shape.columns(name).is_some()) else {
                continue;
            };
            let columns = shape.of(table);
            for values in values.chunks(LOOK_UP) {
                let list: Vec<String> = values.iter().map(|value| text(value)).collect();
                let condition = format!("{} IN ({})", quoted(column), list.join(", "));
                for row in self.rows(name, &columns, &condition, "").await? {
                    let Some(value) = row.text(column).map(str::to_owned) else { continue };
                    let reference = Reference { table: name, column, value };
                    found.entry(reference).or_default().push(row);
                }
            }
        }
        Ok(found)
    }

    /// All rows of a small table.
    pub(super) async fn all(
        &mut self,
        shape: &Shape,
        table: &'static Table,
    ) -> Result<Vec<Row>, Failed> {
        if shape.columns(table.name).is_none() {
            return Ok(Vec::new());
        }
        self.rows(table.name, &shape.of(table), "1 = 1", "").await
    }

    async fn rows(
        &mut self,
        table: &str,
        columns: &[Cow<'static, str>],
        condition: &str,
        tail: &str,
    ) -> Result<Vec<Row>, Failed> {
        let names: Vec<String> = columns.iter().map(|column| quoted(column)).collect();
        let from = self.table(table);
        let text = format!("SELECT {} FROM {from} WHERE {condition} {tail}", names.join(", "));
        let found = self.select(text).await?;
        let row = |found: &MySqlRow| {
            let mut row = Row::default();
            for (n, column) in columns.iter().enumerate() {
                row.push(column.clone(), Cell::from(text_at(found, n)?));
            }
            Ok(row)
        };
        found.iter().map(row).collect()
    }
}

fn keyed(table: &Table, rows: Vec<Row>) -> Result<BTreeMap<i64, Row>, Failed> {
    let keyed = |row: Row| {
        let key = row.text(table.key).and_then(|key| key.parse().ok()).ok_or_else(|| {
            Failed::new(format!("a key of table {} is no whole number", table.name))
        })?;
        Ok((key, row))
    };
    rows.into_iter().map(keyed).collect()
}

fn text_at(row: &MySqlRow, n: usize) -> Result<Option<String>, Failed> {
    // Whatever the column's type: in answers to plain statements every value is a text, or what a column of bytes holds.
    let bytes: Option<&[u8]> = row.try_get_unchecked(n).map_err(|error| failed(&error))?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A value: a number as it is, all else in hexadecimal, so that no mode of the server reads it otherwise.
fn text(value: &str) -> String {
    let is_number = value.len() < 19 && value.parse::<i64>().is_ok_and(|n| n.to_string() == value);
    if is_number { value.to_owned() } else { hexadecimal(value) }
}

fn hexadecimal(value: &str) -> String {
    if value.is_empty() { "''".to_owned() } else { format!("_utf8mb4 0x{}", hex::encode(value)) }
}

/// What an operator can do about it. Codes: MariaDB's error reference; the same in MySQL.
fn failed(error: &sqlx::Error) -> Failed {
    let code = error.as_database_error().and_then(|error| {
        error
            .try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
            .map(sqlx::mysql::MySqlDatabaseError::number)
    });
    let what = match code {
        Some(1044 | 1045 | 1698) => {
            "the database refused the user; look at `url`, and give the right `secret`"
        }
        Some(1049) => "there is no such database; look at `url`",
        Some(1142 | 1143) => "the user may not read a table; grant SELECT on the CRM's database",
        Some(1040 | 1203 | 1226) => {
            "the database has too many connections; it is tried again at the next run"
        }
        Some(_) => "the database refused a statement",
        None if matches!(error, sqlx::Error::Io(_)) => {
            "the database cannot be reached; look at `url`, and whether it runs"
        }
        None if matches!(error, sqlx::Error::Tls(_)) => {
            "the connection could not be encrypted; look at `ssl-mode` in `url`"
        }
        None => "the database's answer cannot be used",
    };
    Failed::new(format!("{what} ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_statement_cannot_end_it() {
        assert_eq!(quoted("a`b"), "`a``b`");
        assert_eq!(text("17"), "17");
        assert_eq!(text("017"), "_utf8mb4 0x303137");
        assert_eq!(text("x' OR 1=1"), "_utf8mb4 0x7827204f5220313d31");
        assert_eq!(text(""), "''");
    }
}
