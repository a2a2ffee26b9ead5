//! Rows of other tables as one column of a record: made into JSON when they are read, and into data when they go out.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::known::Known;
use super::row::{Cell, Row};
use super::tables::List;

/// Adds the list to the row that it belongs to. `members` are the rows whose `parent` is the row's key, in any order.
pub fn attach(list: &List, row: &mut Row, mut members: Vec<Row>) {
    members.sort_by(|one, other| compare(list, one, other));
    let objects = members.iter().map(|member| Value::Object(object(list, member))).collect();
    row.push(list.field, Cell::Text(Value::Array(objects).to_string()));
}

/// Numbers by value, all else by text.
fn compare(list: &List, one: &Row, other: &Row) -> Ordering {
    let number = |row: &Row, column| row.text(column).and_then(|text| text.parse::<i64>().ok());
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

fn object(list: &List, member: &Row) -> Map<String, Value> {
    let value = |column: &&str| member.text(column).map_or(Value::Null, Value::from);
    list.columns.iter().map(|column| ((*column).to_owned(), value(column))).collect()
}

/// The list as it goes out.
pub(super) fn value(list: &List, text: &str, known: &Known) -> Value {
    let value = serde_json::from_str(text).unwrap_or_else(|_| json!([]));
    match (list.named_by, value) {
        (Some(table), Value::Array(members)) => {
            members.iter().map(|member| named(list, table, member, known)).collect()
        }
        (_, value) => value,
    }
}

/// A member that is the key of a named row: its id, and its name if that is known.
fn named(list: &List, table: &'static str, member: &Value, known: &Known) -> Value {
    let key = list.columns.first().and_then(|column| member.get(column)).and_then(Value::as_str);
    let name = known.row(table, key).and_then(|row| row.text("name"));
    name.map_or_else(|| json!({ "id": key }), |name| json!({ "id": key, "name": name }))
}

#[cfg(test)]
mod tests {
    use super::super::tables;
    use super::*;

    fn row(cells: &[(&'static str, &str)]) -> Row {
        cells.iter().map(|(column, text)| (*column, Cell::Text((*text).to_owned()))).collect()
    }

    #[test]
    fn the_order_of_the_table_does_not_matter() {
        let list = tables::find("staff").unwrap().list("permissions").unwrap();
        let view = row(&[("feature", "invoices"), ("capability", "view")]);
        let create = row(&[("feature", "invoices"), ("capability", "create")]);
        let (mut one, mut other) = (Row::default(), Row::default());
        attach(list, &mut one, vec![view.clone(), create.clone()]);
        attach(list, &mut other, vec![create, view]);
        assert_eq!(one, other);
        let expected = r#"[{"feature":"invoices","capability":"create"},{"feature":"invoices","capability":"view"}]"#;
        assert_eq!(one.text("permissions"), Some(expected));
    }

    #[test]
    fn numbers_are_ordered_by_value() {
        let list = tables::find("clients").unwrap().list("groups").unwrap();
        let mut customer = Row::default();
        attach(list, &mut customer, vec![row(&[("groupid", "10")]), row(&[("groupid", "9")])]);
        assert_eq!(customer.text("groups"), Some(r#"[{"groupid":"9"},{"groupid":"10"}]"#));
        let mut known = Known::default();
        known.put_row("customers_groups", row(&[("id", "9"), ("name", "Wholesale")]));
        let sent = value(list, customer.text("groups").unwrap(), &known);
        assert_eq!(sent, json!([{ "id": "9", "name": "Wholesale" }, { "id": "10" }]));
    }
}
