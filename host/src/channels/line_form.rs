//! Writes deliveries as lines of NDJSON or CSV: what the kinds `file` and `s3` share.

use super::event_value::{EventPlace, EventValue};
use crate::model::envelope::{EnvelopeMessage, RenderedBody};
use crate::model::fault::InputFault;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Most columns of a CSV file.
const MAX_COLUMNS: usize = 200;

/// The format of the lines, as in the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineFormat {
    /// The body of each delivery as JSON on one line.
    #[default]
    Ndjson,
    /// Comma-separated values (RFC 4180).
    Csv,
}

/// A column of a CSV file.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CsvColumn {
    /// The column's name, written in the first line of each file.
    #[schema(min_length = 1, max_length = 255)]
    name: String,
    /// The value of the column: `type`, `source`, `resource`, `id`, `time`, `event_id`, `data` or
    /// `data.FIELD`.
    #[schema(max_length = 255)]
    value: String,
}

/// The format of a file's lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineForm {
    /// The body of the delivery as JSON on one line.
    Ndjson,
    /// Comma-separated values (RFC 4180).
    Csv {
        columns: Vec<(String, EventPlace)>,
        /// Whether texts that a spreadsheet would run as a formula are written unchanged.
        keep_formulas: bool,
    },
}

/// The first column of every CSV file, by which a reader recognises a repeat.
const DELIVERY_ID: &str = "delivery_id";

/// Returns the faults of the columns of a format.
pub fn check_columns(format: LineFormat, columns: &[CsvColumn]) -> Vec<InputFault> {
    let mut faults = Vec::new();
    let is_csv = format == LineFormat::Csv;
    if is_csv == columns.is_empty() || columns.len() > MAX_COLUMNS {
        let message = format!("a CSV file has 1 to {MAX_COLUMNS} columns; other formats have none");
        faults.push(InputFault::new("columns", message));
    }
    for (n, column) in columns.iter().enumerate() {
        let why = EventPlace::parse(&column.value).err();
        faults.extend(why.map(|why| InputFault::new(format!("columns[{n}].value"), why)));
    }
    faults
}

impl LineForm {
    /// Reads a form from settings. The error says which column cannot be read.
    pub fn read(
        format: LineFormat,
        columns: Vec<CsvColumn>,
        keep_formulas: bool,
    ) -> Result<Self, String> {
        if format == LineFormat::Ndjson {
            return Ok(Self::Ndjson);
        }
        let read = |column: CsvColumn| Ok((column.name, EventPlace::parse(&column.value)?));
        let columns = columns.into_iter().map(read).collect::<Result<_, String>>()?;
        Ok(Self::Csv { columns, keep_formulas })
    }

    /// Returns the content type of the files.
    pub const fn content_type(&self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Csv { .. } => "text/csv",
        }
    }

    /// Returns the extension of the files.
    pub const fn extension(&self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv { .. } => "csv",
        }
    }

    /// Returns the first line of each file. NDJSON files have none.
    pub fn header(&self) -> Vec<u8> {
        match self {
            Self::Ndjson => Vec::new(),
            Self::Csv { columns, .. } => {
                let names = columns.iter().map(|(name, _)| quote_field(name));
                join_fields(std::iter::once(DELIVERY_ID.to_owned()).chain(names))
            }
        }
    }

    /// Renders the line of a delivery with its line end. The error says why the delivery cannot be
    /// written.
    pub fn render(
        &self,
        message: &EnvelopeMessage<'_>,
        body: Option<&RenderedBody>,
    ) -> Result<Vec<u8>, String> {
        match self {
            Self::Ndjson => json_line(&body.ok_or("the delivery has no body")?.body),
            Self::Csv { columns, keep_formulas } => {
                let fields = columns
                    .iter()
                    .map(|(_, place)| quote_field(&csv_text(place.find(message), *keep_formulas)));
                Ok(join_fields(std::iter::once(message.delivery_id.to_owned()).chain(fields)))
            }
        }
    }
}

/// Puts JSON on one line without changing any value. Only the envelope `raw` may span several
/// lines.
fn json_line(body: &[u8]) -> Result<Vec<u8>, String> {
    serde_json::from_slice::<&RawValue>(body)
        .map_err(|why| format!("the body is not JSON: {why}"))?;
    let mut line = Vec::with_capacity(body.len() + 1);
    if body.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        line.extend(without_spaces(body));
    } else {
        line.extend_from_slice(body);
    }
    line.push(b'\n');
    Ok(line)
}

/// Removes the whitespace between the tokens of JSON.
fn without_spaces(json: &[u8]) -> impl Iterator<Item = u8> {
    let (mut is_text, mut is_escaped) = (false, false);
    json.iter().copied().filter(move |byte| {
        if is_text {
            is_text = is_escaped || *byte != b'"';
            is_escaped = !is_escaped && *byte == b'\\';
            return true;
        }
        is_text = *byte == b'"';
        !byte.is_ascii_whitespace()
    })
}

fn join_fields(fields: impl Iterator<Item = String>) -> Vec<u8> {
    let mut line = fields.collect::<Vec<String>>().join(",");
    line.push_str("\r\n");
    line.into_bytes()
}

/// Returns a value as the text of a field. A text that a spreadsheet would run as a formula gets a
/// leading `'` (OWASP, "CSV Injection").
fn csv_text(value: EventValue, keep_formulas: bool) -> String {
    let is_formula = matches!(&value, EventValue::Text(text)
        if !keep_formulas && text.starts_with(['=', '+', '-', '@', '\t', '\r']));
    let text = value.into_text().unwrap_or_default();
    if is_formula { format!("'{text}") } else { text }
}

fn quote_field(field: &str) -> String {
    let is_plain = |c: char| !matches!(c, ',' | '"' | '\r' | '\n');
    if field.chars().all(is_plain) && field.trim() == field {
        return field.to_owned();
    }
    format!("\"{}\"", field.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(keep_formulas: bool) -> LineForm {
        let column = |name: &str, place: &str| (name.to_owned(), EventPlace::parse(place).unwrap());
        let columns =
            vec![column("No, of it", "id"), column("note", "data.note"), column("n", "data.n")];
        LineForm::Csv { columns, keep_formulas }
    }

    fn line(form: &LineForm, data: &str) -> String {
        let message = EnvelopeMessage {
            delivery_id: "dlv_1",
            resource_id: Some("17"),
            data,
            ..EnvelopeMessage::default()
        };
        String::from_utf8(form.render(&message, None).unwrap()).unwrap()
    }

    #[test]
    fn fields_are_quoted_and_formulas_are_not_run() {
        assert_eq!(csv(false).header(), b"delivery_id,\"No, of it\",note,n\r\n");
        let shown = line(&csv(false), r#"{"note": "a \"b\"\nc", "n": -1.50}"#);
        assert_eq!(shown, "dlv_1,17,\"a \"\"b\"\"\nc\",-1.50\r\n");
        assert_eq!(line(&csv(false), r#"{"note": "=1+1"}"#), "dlv_1,17,'=1+1,\r\n");
        assert_eq!(line(&csv(true), r#"{"note": "=1+1"}"#), "dlv_1,17,=1+1,\r\n");
    }

    #[test]
    fn json_is_one_line() {
        let body = |body: &str| RenderedBody {
            body: body.as_bytes().to_vec(),
            content_type: "application/json".into(),
            headers: Vec::new(),
        };
        let render =
            |text: &str| LineForm::Ndjson.render(&EnvelopeMessage::default(), Some(&body(text)));
        let several = "{\n \"a \\\" b\": 1.10,\r\n\"c\\\\\": \" \" }";
        let one = "{\"a \\\" b\":1.10,\"c\\\\\":\" \"}\n";
        assert_eq!(render(several).unwrap(), one.as_bytes());
        assert_eq!(render("{ \"a\": 1.10 }").unwrap(), b"{ \"a\": 1.10 }\n");
        assert!(render("<xml/>").is_err());
    }
}
