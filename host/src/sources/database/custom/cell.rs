//! Converts values of MySQL and MariaDB: from the server's texts to JSON, and from keys to
//! literals.

use super::super::mysql::hexadecimal;
use super::table::CustomColumn;
use crate::json::same_value::is_zero_date;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::value::{RawValue, to_raw_value};

/// Converts a value that the server sent to JSON, according to the column's type.
pub fn json(kind: &str, value: Option<Vec<u8>>) -> Box<RawValue> {
    let Some(bytes) = value else { return RawValue::NULL.to_owned() };
    let typed = match class(kind) {
        ColumnClass::Number | ColumnClass::Inexact => {
            std::str::from_utf8(&bytes).ok().and_then(|text| raw(&digits(text)))
        }
        ColumnClass::Bits => raw(&bits(&bytes)),
        ColumnClass::Json => std::str::from_utf8(&bytes).ok().and_then(raw),
        ColumnClass::Bytes => to_raw_value(&BASE64_STANDARD.encode(&bytes)).ok(),
        ColumnClass::Ordered | ColumnClass::Other => None,
    };
    typed.unwrap_or_else(|| to_raw_value(&String::from_utf8_lossy(&bytes)).unwrap_or_default())
}

/// Returns a value, or `None` if it is not a real date: the server writes `0000-00-00` for no date
/// and `2022-11-00` for no day.
pub fn dated(column: &CustomColumn, value: Option<Vec<u8>>) -> Option<Vec<u8>> {
    let is_date = matches!(column.kind.as_str(), "date" | "datetime" | "timestamp");
    let is_zero = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok_and(is_zero_date);
    value.filter(|bytes| !is_date || !is_zero(bytes))
}

/// Writes a key of this type for a statement. Returns `None` for a type by whose order rows cannot
/// be read.
pub fn literal(kind: &str, id: &str) -> Option<String> {
    match class(kind) {
        ColumnClass::Number => {
            let is_number = |c: char| c.is_ascii_digit() || "+-.".contains(c);
            (!id.is_empty() && id.chars().all(is_number)).then(|| id.to_owned())
        }
        ColumnClass::Ordered => Some(hexadecimal(id)),
        ColumnClass::Bytes if kind.ends_with("binary") => {
            let bytes = BASE64_STANDARD.decode(id).unwrap_or_default();
            Some(if bytes.is_empty() {
                "''".to_owned()
            } else {
                format!("0x{}", hex::encode(bytes))
            })
        }
        ColumnClass::Inexact
        | ColumnClass::Bits
        | ColumnClass::Json
        | ColumnClass::Bytes
        | ColumnClass::Other => None,
    }
}

/// How values of a type are read and compared.
enum ColumnClass {
    Number,
    /// A number of which the text may not have all digits.
    Inexact,
    Bits,
    Json,
    Bytes,
    /// A text, or a type that compares with a text in the order of its values.
    Ordered,
    /// Any other type.
    Other,
}

fn class(kind: &str) -> ColumnClass {
    match kind {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "year" => {
            ColumnClass::Number
        }
        "float" | "double" => ColumnClass::Inexact,
        "bit" => ColumnClass::Bits,
        "json" => ColumnClass::Json,
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "geometry"
        | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" | "geomcollection" | "vector" => ColumnClass::Bytes,
        "char" | "varchar" | "date" | "datetime" | "timestamp" | "time" | "uuid" | "inet4"
        | "inet6" => ColumnClass::Ordered,
        // Sets and enumerations are ordered by their internal numbers, and long texts only by their
        // first bytes.
        _ => ColumnClass::Other,
    }
}

fn raw(text: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(text.to_owned()).ok()
}

/// Removes the leading zeros of a ZEROFILL column, which JSON does not allow.
fn digits(text: &str) -> String {
    let (sign, number) = text.strip_prefix('-').map_or(("", text), |number| ("-", number));
    let number = number.trim_start_matches('0');
    let zero = if number.starts_with(|c: char| c.is_ascii_digit()) { "" } else { "0" };
    format!("{sign}{zero}{number}")
}

fn bits(bytes: &[u8]) -> String {
    bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_of_the_type_that_their_column_is_of() {
        for (kind, text, wanted) in [
            ("bigint", "18446744073709551615", "18446744073709551615"),
            ("int", "00042", "42"),
            ("int", "0", "0"),
            ("int", "-7", "-7"),
            ("decimal", "0.50", "0.50"),
            ("decimal", "-0000.50", "-0.50"),
            ("decimal", "12345678901234567890.123456789", "12345678901234567890.123456789"),
            ("double", "1e300", "1e300"),
            ("json", r#"{"a": [1]}"#, r#"{"a": [1]}"#),
            ("json", "broken", r#""broken""#),
            ("varchar", "17", r#""17""#),
            ("text", "a\"\n", r#""a\"\n""#),
            ("date", "2026-01-02", r#""2026-01-02""#),
            ("blob", "\u{1}a", r#""AWE=""#),
            ("bit", "\u{1}\u{1}", "257"),
        ] {
            assert_eq!(json(kind, Some(text.into())).get(), wanted, "{kind} {text}");
        }
        assert_eq!(json("int", None).get(), "null");
    }

    #[test]
    fn a_key_cannot_end_its_literal() {
        assert_eq!(literal("int", "-17").as_deref(), Some("-17"));
        assert_eq!(literal("int", "17 OR 1"), None);
        assert_eq!(literal("varchar", "x'").as_deref(), Some("_utf8mb4 0x7827"));
        assert_eq!(literal("varchar", "").as_deref(), Some("''"));
        assert_eq!(literal("varbinary", "AWE=").as_deref(), Some("0x0161"));
        for kind in ["float", "enum", "set", "text", "blob", "bit", "json"] {
            assert_eq!(literal(kind, "0"), None, "{kind}");
        }
    }
}
