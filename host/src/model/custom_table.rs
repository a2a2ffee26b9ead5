//! Settings of a custom table: a table of the database that is not one of the CRM's.

use crate::model::fault::InputFault;
use crate::model::type_pattern::is_event_type;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

/// Most tables of one source.
const MAX_TABLES: usize = 100;
/// Most excluded columns of one table.
const MAX_EXCLUDED: usize = 500;
/// Longest name in MySQL and MariaDB, in characters. PostgreSQL's limit is lower.
const MAX_NAME: usize = 64;

/// A table to read that is not one of the CRM's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct OwnTable {
    /// Name of the table as the database stores it, with or without a schema: `orders` or
    /// `sales.orders`.
    #[schema(example = "orders")]
    pub table: String,
    /// Column that identifies a row. Default: the primary key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Kind of record in a row, such as `order`. Default: the name of the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Columns that are never read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}

/// A table as settings may write it: as an object. A plain name is converted first.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WholeTable {
    table: String,
    key: Option<String>,
    resource: Option<String>,
    #[serde(default)]
    exclude: Vec<String>,
}

impl<'de> Deserialize<'de> for OwnTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut given = Value::deserialize(deserializer)?;
        if let Value::String(table) = given {
            given = serde_json::json!({ "table": table });
        }
        let whole: WholeTable = serde_json::from_value(given).map_err(de::Error::custom)?;
        let WholeTable { table, key, resource, exclude } = whole;
        Ok(Self { table, key, resource, exclude })
    }
}

impl OwnTable {
    /// Returns the schema, if the name has one, and the name of the table.
    pub fn place(&self) -> (Option<&str>, &str) {
        match self.table.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, &self.table),
        }
    }

    /// Returns the resource of the rows.
    pub fn resource(&self) -> &str {
        self.resource.as_deref().unwrap_or_else(|| self.place().1)
    }

    fn check(&self) -> Vec<InputFault> {
        let mut faults = Vec::new();
        let mut fault = |path: &str, message: &str| faults.push(InputFault::new(path, message));
        let (schema, name) = self.place();
        if ![schema.unwrap_or("public"), name].into_iter().all(is_name) || name.contains('.') {
            let message = "write a table's name as the database stores it, without quotes, such as `orders` or `sales.orders`";
            fault("table", message);
        } else if !is_event_type(&format!("{}.created", self.resource())) {
            let message =
                "write the kind of record in letters, digits, `_` and `-`, such as `order`";
            fault("resource", message);
        }
        if self.key.as_deref().is_some_and(|key| !is_name(key)) {
            fault("key", "must be the name of a column");
        }
        if self.exclude.len() > MAX_EXCLUDED {
            fault("exclude", &format!("at most {MAX_EXCLUDED} columns"));
        }
        for (n, column) in self.exclude.iter().enumerate() {
            let place = format!("exclude[{n}]");
            if !is_name(column) {
                fault(&place, "must be the name of a column");
            } else if Some(column) == self.key.as_ref() {
                fault(&place, "the key cannot be excluded, because it identifies a row");
            }
        }
        faults
    }
}

/// Returns the faults of a list of tables.
pub fn check_tables(tables: &[OwnTable]) -> Vec<InputFault> {
    let mut faults = Vec::new();
    if tables.len() > MAX_TABLES {
        faults.push(InputFault::new("own_tables", format!("at most {MAX_TABLES} tables")));
    }
    for (n, table) in tables.iter().enumerate() {
        let mut found = table.check();
        let mut others = tables.iter().take(n);
        if others.clone().any(|other| other.table == table.table) {
            found.push(InputFault::new("table", "this table is named twice"));
        } else if others.any(|other| other.resource() == table.resource()) {
            let message = format!(
                "another table also has the resource `{}`; give one of them another",
                table.resource()
            );
            found.push(InputFault::new("resource", message));
        }
        let place = format!("own_tables[{n}]");
        faults.extend(found.into_iter().map(|fault| fault.within(&place)));
    }
    faults
}

/// Whether a table or a column may have this name.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().count() <= MAX_NAME && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(tables: Value) -> Vec<String> {
        let tables: Vec<OwnTable> = serde_json::from_value(tables).unwrap();
        check_tables(&tables).into_iter().map(|fault| fault.path).collect()
    }

    #[test]
    fn a_table_is_a_name_or_an_object() {
        let good = json!(["orders", {"table": "sales.Order Lines", "key": "no", "resource": "line",
            "exclude": ["pass\"word"]}]);
        assert_eq!(faults(good), [""; 0]);
        let tables: Vec<OwnTable> =
            serde_json::from_value(json!(["orders", "sales.lines"])).unwrap();
        assert_eq!(tables[1].place(), (Some("sales"), "lines"));
        assert_eq!(tables[1].resource(), "lines");
        assert_eq!(serde_json::to_value(&tables[0]).unwrap(), json!({"table": "orders"}));
        let wrong = serde_json::from_value::<OwnTable>(json!({"table": "a", "kye": "id"}));
        assert!(wrong.unwrap_err().to_string().contains("kye"));
    }

    #[test]
    fn faults_name_their_place() {
        for (wrong, place) in [
            (json!(["ok", ""]), "own_tables[1].table"),
            (json!(["a.b.c"]), "own_tables[0].table"),
            (json!([".orders"]), "own_tables[0].table"),
            (json!(["sales."]), "own_tables[0].table"),
            (json!(["a\u{0}b"]), "own_tables[0].table"),
            (json!(["x".repeat(65)]), "own_tables[0].table"),
            (json!(["Order Lines"]), "own_tables[0].resource"),
            (json!([{"table": "a", "resource": "a b"}]), "own_tables[0].resource"),
            (json!([{"table": "a", "key": ""}]), "own_tables[0].key"),
            (json!([{"table": "a", "exclude": ["b", ""]}]), "own_tables[0].exclude[1]"),
            (json!([{"table": "a", "key": "b", "exclude": ["b"]}]), "own_tables[0].exclude[0]"),
            (json!(["a", "b", "a"]), "own_tables[2].table"),
            (json!(["one.orders", "two.orders"]), "own_tables[1].resource"),
        ] {
            assert_eq!(faults(wrong.clone()), [place], "{wrong}");
        }
        let many: Vec<Value> = (0..=MAX_TABLES).map(|n| json!(format!("t{n}"))).collect();
        assert_eq!(faults(Value::from(many)), ["own_tables"]);
    }
}
