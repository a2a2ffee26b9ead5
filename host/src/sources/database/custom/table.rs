//! Decides which columns of a table are read, and which column identifies its rows.

use super::super::super::RunFailed;
use crate::model::custom_table::OwnTable;

/// A column as the database describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomColumn {
    pub name: String,
    /// The column's type, as the database names it.
    pub kind: String,
    /// Whether the column may be NULL.
    pub nullable: bool,
}

/// A unique index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UniqueIndex {
    pub columns: Vec<String>,
    pub is_primary: bool,
    /// The quoted schema of the operators that compare the columns, if it may not be `pg_catalog`.
    pub operators: Option<String>,
}

/// A table as the database describes it.
#[derive(Debug, Clone, Default)]
pub struct DescribedTable {
    /// The table's quoted name.
    pub from: String,
    pub columns: Vec<CustomColumn>,
    pub uniques: Vec<UniqueIndex>,
    /// Whether other tables inherit from it, so that their rows appear among its own.
    pub has_heirs: bool,
}

/// A table that can be read.
#[derive(Debug, Clone)]
pub struct ReadableTable {
    /// The name under which its rows are stored. It contains the name of the key, so that another
    /// key makes another list.
    pub list: String,
    pub resource: String,
    pub from: String,
    pub key: CustomColumn,
    /// The operators of the key; see [`UniqueIndex`].
    pub operators: Option<String>,
    /// The columns that are read.
    pub columns: Vec<CustomColumn>,
    pub exclude: Vec<String>,
    /// The columns of each unique index whose columns are all read, except the index of the key.
    pub uniques: Vec<Vec<String>>,
}

impl ReadableTable {
    /// Combines the settings with the description of the table. Fails with the reason if the table
    /// cannot be read.
    pub fn new(own: &OwnTable, found: DescribedTable) -> Result<Self, RunFailed> {
        let DescribedTable { from, columns, uniques, has_heirs } = found;
        if columns.is_empty() {
            return Err(RunFailed::new(
                "the table does not exist, or the user may not read it; write its name as the database stores it, with capital letters; views are not supported",
            ));
        }
        if has_heirs {
            return Err(RunFailed::new(
                "other tables inherit from it, so its key does not tell their rows apart; name those tables themselves",
            ));
        }
        let has = |name: &String| columns.iter().any(|column| column.name == *name);
        if let Some(missing) = own.exclude.iter().find(|name| !has(name)) {
            return Err(RunFailed::new(format!(
                "it has no column `{missing}`, which `exclude` names; nothing is read until that is put right"
            )));
        }
        let key = key(own, &uniques)?;
        let Some(key) = columns.iter().find(|column| column.name == key).cloned() else {
            return Err(RunFailed::new(format!("it has no column `{key}`, which `key` names")));
        };
        check_table(&key, own, &uniques)?;
        let is_of_key = |unique: &&UniqueIndex| unique.columns == [key.name.as_str()];
        let operators = uniques.iter().find(is_of_key).and_then(|unique| unique.operators.clone());
        let columns = columns.into_iter().filter(|column| !own.exclude.contains(&column.name));
        let columns: Vec<CustomColumn> = columns.collect();
        let is_read = |name: &String| columns.iter().any(|column| column.name == *name);
        let other = uniques.into_iter().filter(|unique| unique.columns != [key.name.as_str()]);
        let uniques = other.map(|unique| unique.columns).filter(|names| names.iter().all(is_read));
        let uniques: Vec<Vec<String>> = uniques.collect();
        Ok(Self {
            list: format!("{}{}", list_prefix(own), key.name),
            resource: own.resource().to_owned(),
            from,
            key,
            operators,
            uniques,
            columns,
            exclude: own.exclude.clone(),
        })
    }
}

/// Returns the beginning of the name under which the rows of a table are stored. The name of the
/// key follows it.
pub fn list_prefix(own: &OwnTable) -> String {
    // No table's name contains this character.
    format!("own {}\u{1f}", own.table)
}

/// Returns the configured key, or else the primary key.
fn key<'a>(own: &'a OwnTable, uniques: &'a [UniqueIndex]) -> Result<&'a str, RunFailed> {
    if let Some(key) = &own.key {
        return Ok(key);
    }
    let advice =
        "name a column by `key` that is NOT NULL and has a unique index of its own, or add one";
    let Some(primary) = uniques.iter().find(|unique| unique.is_primary) else {
        return Err(RunFailed::new(format!(
            "it has no primary key to tell its rows apart; {advice}"
        )));
    };
    match primary.columns.as_slice() {
        [one] => Ok(one),
        several => Err(RunFailed::new(format!(
            "its primary key has {} columns ({}), and rows are told apart by one; {advice}",
            several.len(),
            several.join(", ")
        ))),
    }
}

fn check_table(
    key: &CustomColumn,
    own: &OwnTable,
    uniques: &[UniqueIndex],
) -> Result<(), RunFailed> {
    let name = &key.name;
    let why = if own.exclude.contains(name) {
        format!("its key `{name}` is in `exclude`, and has to be read; take it out")
    } else if !uniques.iter().any(|unique| unique.columns == [name.as_str()]) {
        format!(
            "its column `{name}` has no unique index of its own, so it may not tell rows apart; add one, or name another by `key`"
        )
    } else if key.nullable {
        format!(
            "its column `{name}` may be NULL, so it may not tell rows apart; make it NOT NULL, or name another by `key`"
        )
    } else {
        return Ok(());
    };
    Err(RunFailed::new(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn described(uniques: &[(&[&str], bool)]) -> DescribedTable {
        let column = |(name, nullable): (&str, bool)| CustomColumn {
            name: name.to_owned(),
            kind: "text".to_owned(),
            nullable,
        };
        let unique = |(columns, is_primary): &(&[&str], bool)| UniqueIndex {
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
            is_primary: *is_primary,
            operators: None,
        };
        DescribedTable {
            from: "orders".to_owned(),
            columns: [("id", false), ("code", true), ("note", true)].map(column).into(),
            uniques: uniques.iter().map(unique).collect(),
            has_heirs: false,
        }
    }

    fn choose(own: Value, found: DescribedTable) -> Result<ReadableTable, String> {
        let own: OwnTable = serde_json::from_value(own).unwrap();
        ReadableTable::new(&own, found).map_err(|why| why.to_string())
    }

    #[test]
    fn rows_are_told_apart_by_the_primary_key_or_by_the_column_that_is_set() {
        let primary = described(&[(&["id"], true), (&["id", "code"], false)]);
        let table = choose(json!("orders"), primary.clone()).unwrap();
        assert_eq!((table.key.name.as_str(), table.columns.len()), ("id", 3));
        let set = json!({"table": "orders", "key": "id", "exclude": ["note"]});
        let table = choose(set, described(&[(&["id"], false)])).unwrap();
        assert_eq!(table.columns.len(), 2);
        assert_eq!(table.list, choose(json!("orders"), primary).unwrap().list);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let primary = || described(&[(&["id"], true)]);
        let heirs = DescribedTable { has_heirs: true, ..primary() };
        for (own, found, words) in [
            (json!("orders"), DescribedTable::default(), "the table does not exist"),
            (json!("orders"), heirs, "inherit"),
            (json!("orders"), described(&[]), "no primary key"),
            (json!("orders"), described(&[(&["id", "code"], true)]), "2 columns (id, code)"),
            (json!({"table": "orders", "key": "nr"}), primary(), "no column `nr`"),
            (json!({"table": "orders", "key": "note"}), primary(), "no unique index"),
            (
                json!({"table": "orders", "key": "code"}),
                described(&[(&["code"], false)]),
                "may be NULL",
            ),
            (json!({"table": "orders", "exclude": ["id"]}), primary(), "has to be read"),
            (json!({"table": "orders", "exclude": ["Note"]}), primary(), "no column `Note`"),
        ] {
            let why = choose(own, found).unwrap_err();
            assert!(why.contains(words), "{words}: {why}");
        }
    }
}
