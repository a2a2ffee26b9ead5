//! What is kept of a row: how much, and that it comes back.

use serde_json::Value;

use super::fixture;
use crate::crm::due::DueMarks;
use crate::crm::known::KnownRows;
use crate::crm::lists;
use crate::crm::row::{CellValue, CrmRow};
use crate::crm::snapshot::{self, ColumnLayouts, StoredSnapshot};
use crate::crm::tables::{self, CrmTable, WatchDepth};

/// The sample row of each resource of the schema, every column that is read in it.
fn samples() -> Vec<(&'static CrmTable, CrmRow)> {
    let schema: Value = serde_json::from_str(&fixture::read("facts/perfex-schema.json")).unwrap();
    let resources = schema["resources"].as_object().unwrap().values();
    let sample = |resource: &Value| {
        let table = tables::find_table(resource["table"].as_str()?.strip_prefix("tbl")?)?;
        let text = |column: &str| match resource["sample"].get(column).filter(|v| !v.is_null()) {
            None => default(&resource["columns"][column]),
            Some(value) => Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
        };
        let mut row: CrmRow = table.columns.iter().map(|column| (*column, text(column))).collect();
        table.lists.iter().for_each(|list| lists::attach_lists(list, &mut row, Vec::new()));
        Some((table, row))
    };
    resources.filter_map(sample).collect()
}

fn default(kind: &Value) -> Option<String> {
    let (_, rest) = kind.as_str()?.split_once("DEFAULT '")?;
    rest.split('\'').next().map(str::to_owned)
}

#[test]
fn a_kept_row_is_small() {
    let mut all = 0;
    let samples = samples();
    for (table, row) in &samples {
        let kept = StoredSnapshot::of(table, row, 0, DueMarks::default());
        let size = ColumnLayouts::encode_row(table, &kept.row).len();
        let sent =
            serde_json::to_string(&crate::crm::data::record(table, row, &KnownRows::default()))
                .unwrap();
        println!("{:24} {size:4} bytes kept of {:4} sent", table.name, sent.len());
        all += size;
    }
    let mean = all / samples.len();
    println!("{mean} bytes in the mean, and 16 for the hash");
    assert_eq!(samples.len(), 18);
    assert!(mean < 300, "{mean}");
}

/// Stored hashes were made so. Another way to make them would have every row read anew after an
/// upgrade.
#[test]
fn hashes_are_made_as_they_were_stored() {
    let table = tables::find_table("taxes").unwrap();
    let cells = [("id", Some("1")), ("name", Some("VAT")), ("taxrate", Some("24.00"))];
    let text = |cell: Option<&str>| cell.map(str::to_owned);
    let row: CrmRow = cells.into_iter().map(|(column, cell)| (column, text(cell))).collect();
    assert_eq!(snapshot::hash_row(table, &row).to_string(), "63e09d9a4f072649616e5e673c384980");
    let numbers = cells.map(|(column, cell)| {
        (column, CellValue::read(text(cell), crate::crm::row::CrmColumnKind::Number))
    });
    assert_eq!(
        snapshot::hash_row(table, &numbers.into_iter().collect()),
        snapshot::hash_row(table, &row)
    );
}

#[test]
fn a_row_comes_back() {
    let long = CellValue::Text("long, \"quoted\" and ünïcode ".repeat(20));
    for (table, row) in samples() {
        let is_long = |column: &str| table.long.contains(&column);
        let cell = |column: &str, cell: &CellValue| {
            if is_long(column) { long.clone() } else { cell.clone() }
        };
        let row: CrmRow = row.iter().map(|(name, old)| (name.clone(), cell(name, old))).collect();
        let kept = snapshot::reduce_row(table, &row);
        let mut layouts = ColumnLayouts::default();
        assert!(layouts.learn_layout(table, &kept) && !layouts.learn_layout(table, &kept));
        let layouts = ColumnLayouts::parse(table, &layouts.text());
        let text = ColumnLayouts::encode_row(table, &kept);
        let key = row.text(table.key).unwrap();
        let back = layouts.decode_row(table, key, &text);
        assert!(kept.iter().all(|(column, cell)| back.get(column) == Some(cell)), "{}", table.name);
        assert!(text.len() < 700, "{}: {} bytes", table.name, text.len());
        let changes = back.iter().filter(|(c, cell)| !row.get(c).unwrap().same_as(cell)).count();
        assert_eq!(changes, 0, "{}", table.name);
    }
}

#[test]
fn of_what_cannot_be_read_the_key_is_left() {
    let table = tables::find_table("invoices").unwrap();
    let row: CrmRow = [("id", Some("1".to_owned())), ("total", None)].into_iter().collect();
    let mut layouts = ColumnLayouts::default();
    layouts.learn_layout(table, &row);
    let text = ColumnLayouts::encode_row(table, &row);
    assert_eq!(layouts.decode_row(table, "1", &text), row);
    let only_key: CrmRow = [("id", Some("1".to_owned()))].into_iter().collect();
    for broken in ["", "short", "00000000[null]", "0123456", &text.replace("null", "1")] {
        assert_eq!(layouts.decode_row(table, "1", broken), only_key, "{broken}");
    }
}

#[test]
fn of_tables_where_only_new_rows_matter_nothing_is_kept() {
    let keys: Vec<&str> =
        tables::ALL.iter().filter(|t| t.watch() == WatchDepth::Keys).map(|t| t.name).collect();
    println!("{keys:?}");
    assert!(keys.contains(&"ticket_replies") && keys.contains(&"views_tracking"));
    let replies = tables::find_table("ticket_replies").unwrap();
    let row: CrmRow = [("id", Some("7".to_owned()))].into_iter().collect();
    assert_eq!(ColumnLayouts::encode_row(replies, &row), "");
    assert_eq!(ColumnLayouts::default().decode_row(replies, "7", ""), row);
}

#[test]
fn marks_come_back() {
    let mut marks = DueMarks::default();
    assert_eq!(marks.encode(), "");
    marks.set("invoice.overdue", crate::crm::due::DueMark::Announced("2026-05-20".into()));
    marks.set("invoice.overdue", crate::crm::due::DueMark::Met("2026-05-20".into()));
    assert_eq!(marks.encode(), r#"{"invoice.overdue":"m2026-05-20"}"#);
    assert_eq!(DueMarks::decode(&marks.encode()), marks);
    assert_eq!(DueMarks::decode("nonsense"), DueMarks::default());
}
