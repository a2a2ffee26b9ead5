//! Orders changed rows when a value of a unique index moves from one row to another.

use super::super::super::rows::{RowFields, SourceRow};
use super::table::ReadableTable;
use crate::store::KeptRow;
use std::collections::HashMap;

/// A row whose value in a unique index changed.
#[derive(Debug)]
pub struct MovedRow {
    pub row: SourceRow,
    pub old: KeptRow,
    /// The stored content.
    pub before: RowFields,
}

/// Whether a changed field is part of a unique index.
pub fn is_move(table: &ReadableTable, changed: &[String]) -> bool {
    table.uniques.iter().flatten().any(|name| changed.contains(name))
}

/// Orders rows so that a row gives up a value before another row takes it. Two rows that swap their
/// values have no such order; they stay as they are.
pub fn order_moves(table: &ReadableTable, moves: Vec<MovedRow>) -> Vec<MovedRow> {
    let mut held: HashMap<(usize, Vec<&str>), usize> = HashMap::new();
    for (n, one) in moves.iter().enumerate() {
        held.extend(values(table, &one.before).into_iter().map(|value| (value, n)));
    }
    let waits_for: Vec<Vec<usize>> = moves
        .iter()
        .map(|one| values(table, &one.row.data))
        .map(|taken| taken.iter().filter_map(|value| held.get(value).copied()).collect())
        .collect();
    let mut visit =
        MoveVisit { waits_for: &waits_for, seen: vec![false; moves.len()], order: vec![] };
    (0..moves.len()).for_each(|n| visit.row(n));
    let order = visit.order;
    let mut moves: Vec<Option<MovedRow>> = moves.into_iter().map(Some).collect();
    order.into_iter().filter_map(|n| moves.get_mut(n)?.take()).collect()
}

/// Returns a row's values in each unique index. Values with a NULL are left out, because they do
/// not conflict with any row.
fn values<'a>(table: &ReadableTable, fields: &'a RowFields) -> Vec<(usize, Vec<&'a str>)> {
    let value =
        |name: &String| fields.get(name).map(|value| value.get()).filter(|value| *value != "null");
    let of_index = |(n, names): (usize, &Vec<String>)| {
        let values: Option<Vec<&str>> = names.iter().map(value).collect();
        Some((n, values?))
    };
    table.uniques.iter().enumerate().filter_map(of_index).collect()
}

/// Rows after those that they wait for.
struct MoveVisit<'a> {
    waits_for: &'a [Vec<usize>],
    seen: Vec<bool>,
    order: Vec<usize>,
}

impl MoveVisit<'_> {
    /// Goes as deep as the longest chain of rows, which a batch bounds.
    fn row(&mut self, n: usize) {
        match self.seen.get_mut(n) {
            Some(seen) if !*seen => *seen = true,
            _ => return,
        }
        let waits_for = self.waits_for;
        waits_for.get(n).into_iter().flatten().for_each(|before| self.row(*before));
        self.order.push(n);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::super::rows;
    use super::super::table::CustomColumn;
    use super::*;

    fn table(uniques: &[&[&str]]) -> ReadableTable {
        let column = |name: &str| CustomColumn {
            name: name.to_owned(),
            kind: "int".to_owned(),
            nullable: false,
        };
        let names = |names: &&[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        ReadableTable {
            list: String::new(),
            resource: String::new(),
            from: String::new(),
            key: column("id"),
            operators: None,
            columns: vec![column("id"), column("a"), column("b")],
            exclude: Vec::new(),
            uniques: uniques.iter().map(names).collect(),
        }
    }

    fn ordered(table: &ReadableTable, rows: &[(&str, &str, &str)]) -> Vec<String> {
        let fields = |text: &str| serde_json::from_str::<RowFields>(text).unwrap();
        let one = |(id, before, after): &(&str, &str, &str)| {
            let row = SourceRow::new((*id).to_owned(), fields(after));
            let old = rows::keep(&row, 0, "");
            MovedRow { row, old, before: fields(before) }
        };
        let moves = rows.iter().map(one).collect();
        order_moves(table, moves).into_iter().map(|one| one.row.id).collect()
    }

    #[test]
    fn a_value_is_given_up_before_it_is_taken() {
        let a = table(&[&["a"]]);
        let chain = [
            ("1", r#"{"a":1}"#, r#"{"a":2}"#),
            ("2", r#"{"a":2}"#, r#"{"a":3}"#),
            ("3", r#"{"a":3}"#, r#"{"a":4}"#),
        ];
        assert_eq!(ordered(&a, &chain), ["3", "2", "1"]);
        let swap = [("1", r#"{"a":1}"#, r#"{"a":2}"#), ("2", r#"{"a":2}"#, r#"{"a":1}"#)];
        assert_eq!(ordered(&a, &swap).len(), 2);
        let nulls = [("1", r#"{"a":1}"#, r#"{"a":null}"#), ("2", r#"{"a":null}"#, r#"{"a":1}"#)];
        assert_eq!(ordered(&a, &nulls), ["1", "2"]);
        let both = table(&[&["a", "b"]]);
        let pairs = [
            ("1", r#"{"a":1,"b":1}"#, r#"{"a":1,"b":2}"#),
            ("2", r#"{"a":1,"b":2}"#, r#"{"a":2,"b":2}"#),
        ];
        assert_eq!(ordered(&both, &pairs), ["2", "1"]);
    }
}
