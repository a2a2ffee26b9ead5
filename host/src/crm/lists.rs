//! Rows of other tables that are part of a record, such as the lines of an invoice: how they become
//! a column of JSON when they are read, and data when they are sent.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::known::KnownRows;
use super::row::{CellValue, CrmRow};
use super::snapshot::LONGEST_KEPT;
use super::tables::{self, ChildList, ListForm};
use crate::json::same_value::canonical_number;

/// Adds a list to its row. `members` are the rows that belong to it, in any order.
pub fn attach_lists(list: &'static ChildList, row: &mut CrmRow, mut members: Vec<CrmRow>) {
    members.sort_by(|one, other| compare_lists(list, one, other));
    let objects = members.iter().map(|member| Value::Object(object(list, member))).collect();
    row.push(list.field, CellValue::List(list, Value::Array(objects).to_string()));
}

/// Returns the list with all values in one canonical form, for comparisons and digests.
pub fn canonical(list: &ChildList, text: &str) -> String {
    let Ok(Value::Array(mut members)) = serde_json::from_str(text) else { return text.to_owned() };
    if list.form.holds_custom_fields() {
        let is_set = |member: &Value| member.get(VALUE).is_some_and(|value| *value != json!(""));
        members.retain(is_set);
    }
    let columns = members.iter_mut().filter_map(Value::as_object_mut).flat_map(Map::iter_mut);
    for (column, value) in columns {
        let Value::String(text) = value else { continue };
        let is_number = list.numbers.contains(&column.as_str());
        if let Some(number) = canonical_number(text).filter(|_| is_number) {
            *value = number.into();
        }
    }
    shorten(list, &Value::Array(members).to_string())
}

/// Returns the list as it is stored: long values of custom fields are replaced by digests.
pub fn shorten(list: &ChildList, text: &str) -> String {
    if !list.form.holds_custom_fields() || text.len() <= LONGEST_KEPT {
        return text.to_owned();
    }
    let mut members: Value = serde_json::from_str(text).unwrap_or_default();
    for member in members.as_array_mut().into_iter().flatten() {
        if let Some(Value::String(value)) = member.get(VALUE)
            && value.len() > LONGEST_KEPT
        {
            member[VALUE] = json!([CellValue::digest_of(value).to_string()]);
        }
    }
    members.to_string()
}

/// The columns of a custom field's value: the line, the field, and the value.
const LINE: &str = "relid";
const FIELD: &str = "fieldid";
const VALUE: &str = "value";

/// Identifies a custom field of a record, or of a line of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct CustomFieldKey {
    line: Option<i64>,
    field: i64,
}

impl CustomFieldKey {
    fn read(list: &ChildList, member: &Value) -> Option<Self> {
        let number = |column: &str| member.get(column)?.as_str()?.parse().ok();
        let line = (list.form == ListForm::LineCustomFields).then(|| number(LINE));
        // A value of a line that names no line cannot be assigned.
        let line = if let Some(line) = line { Some(line?) } else { None };
        Some(Self { line, field: number(FIELD)? })
    }

    /// Returns the path of the value in the list as it is sent.
    fn path(self, known: &KnownRows) -> String {
        let name = field_name(self.field, known);
        self.line.map_or_else(|| name.clone(), |line| format!("{line}.{name}"))
    }
}

/// Returns the custom fields whose values changed. Each has its old value, if that is stored in
/// full.
pub fn changed_fields(
    list: &ChildList,
    (old, new): (&str, &str),
    known: &KnownRows,
) -> Vec<(String, Option<Value>)> {
    let read = |text: &str| -> BTreeMap<CustomFieldKey, Value> {
        let members: Value = serde_json::from_str(&canonical(list, text)).unwrap_or_default();
        let members = members.as_array().into_iter().flatten();
        let field = |member: &Value| {
            Some((CustomFieldKey::read(list, member)?, member.get(VALUE)?.clone()))
        };
        members.filter_map(field).collect()
    };
    let (old, new) = (read(old), read(new));
    let fields: BTreeSet<&CustomFieldKey> = old.keys().chain(new.keys()).collect();
    let differs = |field: &&CustomFieldKey| old.get(*field) != new.get(*field);
    let told = |field: &CustomFieldKey| {
        let before = old.get(field).cloned().unwrap_or_default();
        (field.path(known), Some(before).filter(|value| !value.is_array()))
    };
    fields.into_iter().filter(differs).map(told).collect()
}

/// Returns a custom field's name in data: its slug, which stays the same when the label changes.
fn field_name(field: i64, known: &KnownRows) -> String {
    let definition = known.row(tables::CUSTOM_FIELDS, Some(&field.to_string()));
    let slug = definition.and_then(|row| row.text("slug")).filter(|slug| !slug.is_empty());
    slug.map_or_else(|| format!("field_{field}"), str::to_owned)
}

/// Makes an object of custom fields: values by name, or an object for each line. A value of which
/// only a digest is stored is left out.
fn custom_fields(list: &ChildList, members: &[Value], known: &KnownRows) -> Value {
    let mut data = Map::new();
    for member in members {
        let value = member.get(VALUE).filter(|value| !value.is_array());
        let Some((value, key)) = value.zip(CustomFieldKey::read(list, member)) else { continue };
        let name = field_name(key.field, known);
        match key.line {
            None => data.insert(name, value.clone()),
            Some(line) => {
                let of_line = data.entry(line.to_string()).or_insert_with(|| json!({}));
                of_line.as_object_mut().and_then(|of_line| of_line.insert(name, value.clone()))
            }
        };
    }
    data.into()
}

/// Compares two members by the list's order: numbers by value, other columns as texts.
fn compare_lists(list: &ChildList, one: &CrmRow, other: &CrmRow) -> Ordering {
    let number = |row: &CrmRow, column| row.text(column).and_then(|text| text.parse::<i64>().ok());
    let by_column = |column: &&&'static str| {
        let numbers = number(one, column).cmp(&number(other, column));
        numbers.then_with(|| one.text(column).cmp(&other.text(column)))
    };
    list.order
        .iter()
        .map(|column| by_column(&column))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

fn object(list: &ChildList, member: &CrmRow) -> Map<String, Value> {
    let value = |column: &&str| member.text(column).map_or(Value::Null, Value::from);
    list.columns.iter().map(|column| ((*column).to_owned(), value(column))).collect()
}

/// Returns the list as it is sent.
pub fn value(list: &ChildList, text: &str, known: &KnownRows) -> Value {
    let value = serde_json::from_str(text).unwrap_or_else(|_| json!([]));
    match (list.form, value) {
        (ListForm::CustomFields | ListForm::LineCustomFields, Value::Array(members)) => {
            custom_fields(list, &members, known)
        }
        (ListForm::NamedRows(table), Value::Array(members)) => {
            members.iter().map(|member| named(list, table, member, known)).collect()
        }
        (_, value) => value,
    }
}

/// Returns a member that is the key of a named row: its id, and its name if the row is known.
fn named(list: &ChildList, table: &'static str, member: &Value, known: &KnownRows) -> Value {
    let key = list.columns.first().and_then(|column| member.get(column)).and_then(Value::as_str);
    let name = known.row(table, key).and_then(|row| row.text("name"));
    name.map_or_else(|| json!({ "id": key }), |name| json!({ "id": key, "name": name }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[(&'static str, &str)]) -> CrmRow {
        cells.iter().map(|(column, text)| (*column, CellValue::Text((*text).to_owned()))).collect()
    }

    #[test]
    fn the_order_of_the_table_does_not_matter() {
        let list = tables::find_table("staff").unwrap().list("permissions").unwrap();
        let view = row(&[("feature", "invoices"), ("capability", "view")]);
        let create = row(&[("feature", "invoices"), ("capability", "create")]);
        let (mut one, mut other) = (CrmRow::default(), CrmRow::default());
        attach_lists(list, &mut one, vec![view.clone(), create.clone()]);
        attach_lists(list, &mut other, vec![create, view]);
        assert_eq!(one, other);
        let expected = r#"[{"feature":"invoices","capability":"create"},{"feature":"invoices","capability":"view"}]"#;
        assert_eq!(one.text("permissions"), Some(expected));
    }

    #[test]
    fn numbers_are_ordered_by_value() {
        let list = tables::find_table("clients").unwrap().list("groups").unwrap();
        let mut customer = CrmRow::default();
        attach_lists(
            list,
            &mut customer,
            vec![row(&[("groupid", "10")]), row(&[("groupid", "9")])],
        );
        assert_eq!(customer.text("groups"), Some(r#"[{"groupid":"9"},{"groupid":"10"}]"#));
        let mut known = KnownRows::default();
        known.put_row("customers_groups", row(&[("id", "9"), ("name", "Wholesale")]));
        let sent = value(list, customer.text("groups").unwrap(), &known);
        assert_eq!(sent, json!([{ "id": "9", "name": "Wholesale" }, { "id": "10" }]));
    }
}
