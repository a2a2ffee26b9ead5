//! Reads a CRM's tables from MySQL or MariaDB.
//!
//! Statements are built from names in [`crate::crm::tables`], numbers, and texts in hexadecimal, so
//! that no value can change a statement.

use super::super::RunFailed;
use super::mysql::{MysqlCells, MysqlConnection, MysqlRows, hexadecimal, quoted, text, text_at};
use super::pace;
use crate::crm::known::RowReference;
use crate::crm::lists;
use crate::crm::options::{self, CrmOptions};
use crate::crm::row::{CellValue, CrmColumnKind, CrmRow};
use crate::crm::tables::{self, ChildList, CrmTable};
use crate::model::database_source::DatabaseSettings;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// Most values in one look-up.
pub const LOOK_UP: usize = 500;

/// A connection to the CRM's database.
#[derive(Debug)]
pub struct CrmConnection {
    db: MysqlConnection,
    prefix: String,
}

/// Rows by their keys.
#[derive(Debug, Default)]
pub struct KeyedRows {
    pub rows: BTreeMap<i64, CrmRow>,
    /// The size of the rows without their lists, in bytes.
    pub bytes: usize,
    /// Whether there are more rows than were read.
    pub is_cut: bool,
    /// The rows that cannot be read: why, by key.
    pub bad: BTreeMap<i64, String>,
}

impl KeyedRows {
    /// Returns the greatest key, including those of rows that cannot be read.
    pub fn last_key(&self) -> Option<i64> {
        let read = self.rows.last_key_value().map(|(key, _)| *key);
        read.max(self.bad.last_key_value().map(|(key, _)| *key))
    }
}

/// The columns of each table that exists, by the table's name without prefix.
#[derive(Debug)]
pub struct DatabaseShape(HashMap<String, TableColumns>);

/// The columns of a table and their kinds.
#[derive(Debug, Default)]
struct TableColumns {
    names: Vec<String>,
    kinds: HashMap<String, CrmColumnKind>,
}

impl TableColumns {
    fn kind(&self, column: &str) -> CrmColumnKind {
        self.kinds.get(column).copied().unwrap_or(CrmColumnKind::Other)
    }
}

/// Returns the kind of values that a column of this SQL type holds.
fn column_kind(data_type: &str) -> CrmColumnKind {
    match data_type.to_lowercase().as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "float"
        | "double" => CrmColumnKind::Number,
        "date" | "datetime" | "timestamp" => CrmColumnKind::Date,
        _ => CrmColumnKind::Other,
    }
}

impl DatabaseShape {
    /// Returns the columns of a table, or `None` if the table does not exist.
    pub fn columns(&self, table: &str) -> Option<&[String]> {
        self.0.get(table).map(|columns| columns.names.as_slice())
    }

    /// Makes a row of the cells that a statement returned for these columns.
    fn row(&self, table: &str, columns: &[Cow<'static, str>], cells: &MysqlCells) -> CrmRow {
        let of = self.0.get(table);
        let mut row = CrmRow::default();
        for (n, column) in columns.iter().enumerate() {
            let kind = of.map_or(CrmColumnKind::Other, |of| of.kind(column));
            row.push(column.clone(), CellValue::read(text_at(cells, n), kind));
        }
        row
    }

    fn of(&self, table: &CrmTable) -> Vec<Cow<'static, str>> {
        table.columns_in(self.columns(table.name).unwrap_or_default())
    }

    /// Returns the columns of a list that exist, or `None` if a table or column that is needed to
    /// read the list is missing.
    fn of_list(&self, list: &ChildList) -> Option<Vec<Cow<'static, str>>> {
        let existing = self.columns(list.table)?;
        let between = match &list.through {
            Some(through) => self.columns(through.table)?,
            None => &[],
        };
        let is_there = |name: &str| existing.iter().chain(between).any(|column| column == name);
        let keys = list.through.iter().flat_map(|through| [through.key, through.column]);
        let mut needed = keys.chain([list.parent]).chain(list.of.iter().map(|(column, _)| *column));
        if !needed.all(is_there) {
            return None;
        }
        let columns = list.columns.iter().copied().filter(|name| is_there(name));
        Some(columns.map(Cow::Borrowed).collect())
    }
}

impl CrmConnection {
    /// Connects, with a session that can only read.
    pub async fn connect(
        settings: &DatabaseSettings,
        secret: Option<&str>,
    ) -> Result<Self, RunFailed> {
        let db = MysqlConnection::connect(settings, secret).await?;
        Ok(Self { db, prefix: settings.prefix.clone() })
    }

    /// Rolls back the transaction that failed, if there is one.
    pub async fn give_up(&mut self) -> Result<(), RunFailed> {
        self.db.execute("ROLLBACK").await
    }

    fn table(&self, name: &str) -> String {
        quoted(&format!("{}{name}", self.prefix))
    }

    /// Reads the CRM's own settings. Returns the defaults if it has no table of settings.
    pub async fn options(&mut self, shape: &DatabaseShape) -> Result<CrmOptions, RunFailed> {
        if shape.columns("options").is_none() {
            return Ok(CrmOptions::default());
        }
        let names: Vec<String> = options::NAMES.iter().map(|name| hexadecimal(name)).collect();
        let text = format!(
            "SELECT `name`, `value` FROM {} WHERE `name` IN ({})",
            self.table("options"),
            names.join(", ")
        );
        let rows = self.db.select_rows(text).await?.rows;
        let pairs: Vec<(String, String)> =
            rows.iter().filter_map(|row| Some((text_at(row, 0)?, text_at(row, 1)?))).collect();
        Ok(CrmOptions::read(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
    }

    /// Reads which tables exist, with which columns.
    pub async fn shape(&mut self) -> Result<DatabaseShape, RunFailed> {
        let of_lists = tables::ALL.iter().flat_map(|table| table.lists).map(|list| list.table);
        let names = tables::ALL.iter().map(|table| table.name).chain(of_lists).chain(["options"]);
        let names: Vec<String> =
            names.map(|name| hexadecimal(&format!("{}{name}", self.prefix))).collect();
        let text = format!(
            "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN ({}) ORDER BY TABLE_NAME, ORDINAL_POSITION",
            names.join(", ")
        );
        let mut found: HashMap<String, TableColumns> = HashMap::new();
        for row in self.db.select_rows(text).await?.rows {
            if let (Some(table), Some(column)) = (text_at(&row, 0), text_at(&row, 1)) {
                let name = table.get(self.prefix.len()..).unwrap_or_default();
                let kind = column_kind(&text_at(&row, 2).unwrap_or_default());
                let columns = found.entry(name.to_owned()).or_default();
                columns.names.push(column.clone());
                columns.kinds.insert(column, kind);
            }
        }
        Ok(DatabaseShape(found))
    }

    /// Reads the greatest key of a table.
    pub async fn greatest(&mut self, table: &CrmTable) -> Result<Option<i64>, RunFailed> {
        let text = format!("SELECT MAX({}) FROM {}", quoted(table.key), self.table(table.name));
        let rows = self.db.select_rows(text).await?.rows;
        let greatest = rows.first().and_then(|row| text_at(row, 0));
        Ok(greatest.and_then(|key| key.parse().ok()))
    }

    /// Reads the rows with the next keys and their lists, in one consistent snapshot.
    pub async fn chunk(
        &mut self,
        shape: &DatabaseShape,
        table: &'static CrmTable,
        above: i64,
        limit: usize,
    ) -> Result<KeyedRows, RunFailed> {
        let columns = shape.of(table);
        let condition = format!("{} > {above}", quoted(table.key));
        let tail = format!("ORDER BY {} LIMIT {limit}", quoted(table.key));
        self.read_snapshot(shape, table, &columns, &condition, (&tail, pace::BYTES)).await
    }

    /// Reads the newest row of a table.
    pub async fn newest(
        &mut self,
        shape: &DatabaseShape,
        table: &'static CrmTable,
    ) -> Result<Option<CrmRow>, RunFailed> {
        let columns = shape.of(table);
        let tail = format!("ORDER BY {} DESC LIMIT 1", quoted(table.key));
        let found =
            self.read_snapshot(shape, table, &columns, "1 = 1", (&tail, pace::BYTES)).await?;
        Ok(found.rows.into_values().next())
    }

    /// Reads only the keys of the next rows.
    pub async fn keys(
        &mut self,
        shape: &DatabaseShape,
        table: &'static CrmTable,
        above: i64,
        limit: usize,
    ) -> Result<KeyedRows, RunFailed> {
        let key = quoted(table.key);
        let tail = format!("ORDER BY {key} LIMIT {limit}");
        let columns = [Cow::Borrowed(table.key)];
        let condition = format!("{key} > {above}");
        let found = self
            .read_some_rows(&self.table(table.name), &columns, &condition, (&tail, pace::BYTES))
            .await?;
        read_keyed(shape, table, &columns, &found)
    }

    /// Reads the rows with these keys and their lists.
    pub async fn with_keys(
        &mut self,
        shape: &DatabaseShape,
        table: &'static CrmTable,
        keys: &[i64],
    ) -> Result<KeyedRows, RunFailed> {
        let list: Vec<String> = keys.iter().map(i64::to_string).collect();
        let condition = format!("{} IN ({})", quoted(table.key), list.join(", "));
        let columns = shape.of(table);
        self.read_snapshot(shape, table, &columns, &condition, ("", usize::MAX)).await
    }

    async fn read_snapshot(
        &mut self,
        shape: &DatabaseShape,
        table: &'static CrmTable,
        columns: &[Cow<'static, str>],
        condition: &str,
        tail: (&str, usize),
    ) -> Result<KeyedRows, RunFailed> {
        let has_lists = !table.lists.is_empty();
        if has_lists {
            self.db.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await?;
        }
        let found = self.read_some_rows(&self.table(table.name), columns, condition, tail).await?;
        let mut found = read_keyed(shape, table, columns, &found)?;
        for list in table.lists {
            self.attach_rows(shape, list, &mut found.rows).await?;
        }
        if has_lists {
            self.db.execute("COMMIT").await?;
        }
        Ok(found)
    }

    async fn attach_rows(
        &mut self,
        shape: &DatabaseShape,
        list: &'static ChildList,
        rows: &mut BTreeMap<i64, CrmRow>,
    ) -> Result<(), RunFailed> {
        let bounds = rows.first_key_value().zip(rows.last_key_value());
        let Some(((first, _), (greatest, _))) = bounds else { return Ok(()) };
        let Some(mut columns) = shape.of_list(list) else { return Ok(()) };
        let parent = quoted(list.parent);
        let mut condition = format!("{parent} BETWEEN {first} AND {greatest}");
        for (name, value) in list.of {
            condition = format!("{condition} AND {} = {}", quoted(name), text(value));
        }
        if !columns.iter().any(|name| name == list.parent) {
            columns.push(Cow::Borrowed(list.parent));
        }
        let mut members: HashMap<i64, Vec<CrmRow>> = HashMap::new();
        let from = self.list_table(list);
        let found = self.read_some_rows(&from, &columns, &condition, ("", usize::MAX)).await?;
        for member in found.rows.iter().map(|cells| shape.row(list.table, &columns, cells)) {
            if let Some(key) = member.text(list.parent).and_then(|key| key.parse().ok()) {
                members.entry(key).or_default().push(member);
            }
        }
        for (key, row) in rows {
            lists::attach_lists(list, row, members.remove(key).unwrap_or_default());
        }
        Ok(())
    }

    /// Returns the table of a list as it stands after `FROM`, joined with the table between the
    /// list and the record. No column that is read or compared exists in both tables, so none needs
    /// a qualifier.
    fn list_table(&self, list: &ChildList) -> String {
        let table = self.table(list.table);
        let Some(through) = &list.through else { return table };
        let (between, key) = (self.table(through.table), quoted(through.key));
        let column = quoted(through.column);
        format!("{table} JOIN {between} ON {between}.{key} = {table}.{column}")
    }

    /// Finds the rows that these references point to, without their lists.
    pub async fn look_up(
        &mut self,
        shape: &DatabaseShape,
        references: &[RowReference],
    ) -> Result<HashMap<RowReference, Vec<CrmRow>>, RunFailed> {
        let mut found: HashMap<RowReference, Vec<CrmRow>> = HashMap::new();
        let mut groups: BTreeMap<(&'static str, &'static str), Vec<&str>> = BTreeMap::new();
        for reference in references {
            found.entry(reference.clone()).or_default();
            groups.entry((reference.table, reference.column)).or_default().push(&reference.value);
        }
        for ((name, column), values) in groups {
            let Some(table) = tables::find_table(name).filter(|_| shape.columns(name).is_some())
            else {
                continue;
            };
            let columns = shape.of(table);
            for row in self.look_up_values(shape, (name, column), &columns, &values).await? {
                let Some(value) = row.text(column).map(str::to_owned) else { continue };
                let reference = RowReference { table: name, column, value };
                found.entry(reference).or_default().push(row);
            }
        }
        Ok(found)
    }

    /// Finds the rows that have one of these values in a column. A value that cannot be compared
    /// with the column is not found, and neither is a row that cannot be read.
    async fn look_up_values(
        &mut self,
        shape: &DatabaseShape,
        (table, column): (&'static str, &'static str),
        columns: &[Cow<'static, str>],
        values: &[&str],
    ) -> Result<Vec<CrmRow>, RunFailed> {
        let mut found = Vec::new();
        let mut parts: Vec<&[&str]> = values.chunks(LOOK_UP).collect();
        while let Some(part) = parts.pop() {
            let list: Vec<String> = part.iter().map(|value| text(value)).collect();
            let condition = format!("{} IN ({})", quoted(column), list.join(", "));
            match self.read_rows(shape, table, columns, &condition).await {
                Ok(rows) => found.extend(rows),
                Err(why) if why.is_of_content() => {
                    self.give_up().await?;
                    let (first, rest) = part.split_at(part.len() / 2);
                    if !first.is_empty() {
                        parts.extend([rest, first]);
                    }
                }
                Err(why) => return Err(why),
            }
        }
        Ok(found)
    }

    /// Reads all rows of a small table.
    pub async fn all(
        &mut self,
        shape: &DatabaseShape,
        table: &'static CrmTable,
    ) -> Result<Vec<CrmRow>, RunFailed> {
        if shape.columns(table.name).is_none() {
            return Ok(Vec::new());
        }
        self.read_rows(shape, table.name, &shape.of(table), "1 = 1").await
    }

    async fn read_rows(
        &mut self,
        shape: &DatabaseShape,
        table: &str,
        columns: &[Cow<'static, str>],
        condition: &str,
    ) -> Result<Vec<CrmRow>, RunFailed> {
        let found =
            self.read_some_rows(&self.table(table), columns, condition, ("", usize::MAX)).await?;
        Ok(found.rows.iter().map(|cells| shape.row(table, columns, cells)).collect())
    }

    /// Reads rows until they have `most` bytes.
    async fn read_some_rows(
        &mut self,
        from: &str,
        columns: &[Cow<'static, str>],
        condition: &str,
        (tail, most): (&str, usize),
    ) -> Result<MysqlRows, RunFailed> {
        let names: Vec<String> = columns.iter().map(|column| quoted(column)).collect();
        let text = format!("SELECT {} FROM {from} WHERE {condition} {tail}", names.join(", "));
        self.db.select_some_rows(text, most).await
    }
}

fn read_keyed(
    shape: &DatabaseShape,
    table: &CrmTable,
    columns: &[Cow<'static, str>],
    found: &MysqlRows,
) -> Result<KeyedRows, RunFailed> {
    let keyed = |cells: &MysqlCells| {
        let row = shape.row(table.name, columns, cells);
        let key = row.text(table.key).and_then(|key| key.parse().ok()).ok_or_else(|| {
            RunFailed::new(format!("a key of table {} is not a whole number", table.name))
        })?;
        Ok((key, row))
    };
    let rows = found.rows.iter().map(keyed).collect::<Result<_, RunFailed>>()?;
    Ok(KeyedRows { rows, bytes: found.bytes, is_cut: found.is_cut, bad: BTreeMap::new() })
}
