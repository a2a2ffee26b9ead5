//! The tables against the schema of the CRM, and the schema of the fixture.

use std::fmt::Write as _;

use serde_json::Value;

use super::fixture;
use crate::crm::tables::{self, CrmTable};

/// Columns that the rules or the notes speak of and the schema does not list, to see that they do
/// no harm.
const MORE: &[(&str, &str, &str)] = &[
    ("tblleads", "leadorder", "int DEFAULT '1'"),
    ("tbltasks", "kanban_order", "int DEFAULT '1'"),
    ("tbltasks", "milestone_order", "int NOT NULL DEFAULT '0'"),
    ("tbldepartments", "password", "mediumtext"),
    ("tbldepartments", "host", "varchar(150) DEFAULT NULL"),
    ("tblitems", "rate_currency_1", "decimal(15,2) DEFAULT NULL"),
];

/// The description of every table by its name with prefix.
fn described() -> Vec<(String, Value)> {
    let schema: Value = serde_json::from_str(&fixture::read("facts/perfex-schema.json")).unwrap();
    let resources = schema["resources"].as_object().unwrap().values();
    let tables = |value: &Value| -> Vec<(String, Value)> {
        value
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, table)| (name.clone(), table.clone()))
            .collect()
    };
    let named =
        resources.clone().filter_map(|one| Some((one["table"].as_str()?.to_owned(), one.clone())));
    let lookups =
        resources.filter(|one| !one["tables"].is_null()).flat_map(|one| tables(&one["tables"]));
    named.chain(tables(&schema["child_tables"])).chain(lookups).collect()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// Every table that is read, or read as a list, with its key and the columns rows are found by.
fn read() -> Vec<(&'static str, Vec<&'static str>)> {
    let lists = tables::ALL.iter().flat_map(|table| table.lists);
    let mut read: Vec<(&str, Vec<&str>)> = tables::ALL
        .iter()
        .map(|table| (table.name, table.parents.iter().map(|parent| parent.column).collect()))
        .chain(lists.map(|list| (list.table, vec![list.own_column()])))
        .collect();
    for (_, columns) in &mut read {
        columns.dedup();
    }
    read.sort();
    read.dedup();
    read
}

fn ddl() -> String {
    let described = described();
    let mut out =
        "-- Every table that is read. Made from perfex-schema.json; see README.md.\n".to_owned();
    for (name, indexed) in read() {
        let (name, table) = described.iter().find(|(n, _)| *n == format!("tbl{name}")).unwrap();
        create(&mut out, name, table, &indexed);
    }
    out += "\nCREATE TABLE `tbloptions` (\n  `id` int NOT NULL AUTO_INCREMENT,\n  `name` varchar(191) NOT NULL,\n  \
            `value` longtext NOT NULL,\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;\n";
    out
}

fn create(out: &mut String, name: &str, table: &Value, indexed: &[&str]) {
    write!(out, "\nCREATE TABLE `{name}` (").unwrap();
    let key = table["primary_key"].as_str();
    let columns = table["columns"].as_object().unwrap().iter();
    let columns = columns.map(|(column, kind)| (column.as_str(), kind.as_str().unwrap()));
    let more = MORE.iter().filter(|(table, ..)| *table == name).map(|(_, c, kind)| (*c, *kind));
    let mut separator = "";
    for (column, kind) in columns.chain(more) {
        let counted = if key == Some(column) { " AUTO_INCREMENT" } else { "" };
        write!(out, "{separator}\n  `{column}` {kind}{counted}").unwrap();
        separator = ",";
    }
    if let Some(key) = key {
        write!(out, ",\n  PRIMARY KEY (`{key}`)").unwrap();
    }
    for column in indexed.iter().chain((name == "tblclients").then_some(&"leadid")) {
        write!(out, ",\n  KEY `{column}` (`{column}`)").unwrap();
    }
    *out += "\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;\n";
}

#[test]
fn the_file_is_what_the_schema_says() {
    let made = ddl();
    if std::env::var_os("UPDATE_FIXTURE").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/crm/schema.sql"), &made)
            .unwrap();
    }
    assert_eq!(made, fixture::read("schema.sql"), "UPDATE_FIXTURE=1 writes it anew");
}

#[test]
fn every_column_is_read_that_is_not_sensitive_and_no_other() {
    let not_read = |table: &str, column: &str| table == "tblviews_tracking" && column == "view_ip";
    for table in tables::ALL {
        let name = format!("tbl{}", table.name);
        let (_, described) = described().into_iter().find(|(n, _)| *n == name).unwrap();
        let sensitive = texts(&described["sensitive_columns"]);
        let columns = described["columns"].as_object().unwrap().keys();
        let expected: Vec<&String> = columns
            .filter(|column| !sensitive.contains(&column.as_str()) && !not_read(&name, column))
            .collect();
        assert_eq!(table.columns.iter().collect::<Vec<_>>(), expected, "{name}");
        check_facts(table, &described);
    }
}

fn check_facts(table: &CrmTable, described: &Value) {
    let name = table.name;
    assert_eq!(described["primary_key"].as_str(), Some(table.key), "{name}");
    assert_eq!(texts(&described["columns_newer_than_3_0_0"]), table.newer, "{name}");
    let kind = |column: &str| described["columns"][column].as_str().unwrap().to_owned();
    let long = table.columns.iter().copied().filter(|column| kind(column).contains("text"));
    if table.watch() == tables::WatchDepth::Content && !name.starts_with("contracts_types") {
        assert_eq!(long.collect::<Vec<_>>(), table.long, "{name}");
    }
    assert!(table.created.is_none_or(|column| table.columns.contains(&column)), "{name}");
    let lists = |field: &&&str| table.list(field).is_some();
    for column in table.ignored.iter().filter(|column| !lists(column)) {
        assert!(table.columns.contains(column), "{name}.{column}");
    }
    for parent in table.parents {
        assert!(
            table.columns.contains(&parent.column) && tables::find_table(parent.table).is_some(),
            "{name}"
        );
    }
    for join in table.joins {
        assert!(
            table.columns.contains(&join.column) && tables::find_table(join.table).is_some(),
            "{name}"
        );
    }
}

fn columns_of(table: &str) -> Vec<String> {
    let name = format!("tbl{table}");
    let (_, table) = described().into_iter().find(|(n, _)| *n == name).unwrap();
    table["columns"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn lists_are_of_columns_that_are_there() {
    for list in tables::ALL.iter().flat_map(|table| table.lists) {
        let tables = [Some(list.table), list.through.as_ref().map(|through| through.table)];
        let columns: Vec<String> = tables.into_iter().flatten().flat_map(columns_of).collect();
        let of = list.of.iter().map(|(column, _)| *column);
        for column in list.columns.iter().copied().chain([list.parent]).chain(of) {
            let found = columns.iter().filter(|found| *found == column).count();
            assert_eq!(found, 1, "{}.{column}: there, and not in two joined tables", list.table);
        }
        assert!(list.order.iter().all(|column| list.columns.contains(column)), "{}", list.table);
    }
}

#[test]
fn columns_are_those_that_an_installation_has() {
    let invoices = tables::find_table("invoices").unwrap();
    let mut existing: Vec<String> = invoices.columns.iter().map(|c| (*c).to_owned()).collect();
    existing.retain(|column| column != "formatted_number" && column != "terms");
    existing.push("token".into());
    let read = invoices.columns_in(&existing);
    assert_eq!(read.len(), invoices.columns.len() - 2);
    assert_eq!(invoices.missing_in(&existing), ["terms"]);
    let items = tables::find_table("items").unwrap();
    let existing = ["id", "rate", "rate_currency_2", "secret"].map(str::to_owned);
    assert_eq!(items.columns_in(&existing), ["id", "rate", "rate_currency_2"]);
}
