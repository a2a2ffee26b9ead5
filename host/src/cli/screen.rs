//! Where a command writes: tables and plain words for people, JSON for programs.

use std::fmt;
use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

/// Where a command writes, and for whom.
pub struct CommandScreen<'a> {
    out: &'a mut (dyn Write + Send),
    human: bool,
}

impl fmt::Debug for CommandScreen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screen").field("human", &self.human).finish_non_exhaustive()
    }
}

/// A terminal of fewer columns shows a table better by cutting or wrapping its lines itself.
const NARROW: u16 = 60;

/// A column of a list: its heading and the JSON pointers where its value may stand.
pub type ListColumn = (&'static str, &'static [&'static str]);

impl<'a> CommandScreen<'a> {
    /// A screen over `out`; `terminal` says that a person reads along.
    pub fn new(out: &'a mut (dyn Write + Send), terminal: bool) -> Self {
        Self { out, human: terminal }
    }

    /// Makes the output JSON, whoever reads.
    pub const fn force_json(&mut self, json: bool) {
        self.human &= !json;
    }

    /// Is it for people?
    pub const fn is_human(&self) -> bool {
        self.human
    }

    /// One line of text, at once.
    pub fn print_line(&mut self, text: impl fmt::Display) -> io::Result<()> {
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// Raw bytes, as they are.
    pub fn print_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.flush()
    }

    /// A value as indented JSON.
    pub fn print_json(&mut self, value: &Value) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *self.out, value)?;
        self.print_line("")
    }

    /// Rows as a table.
    pub fn print_table(&mut self, headings: &[&str], rows: Vec<Vec<String>>) -> io::Result<()> {
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_header(headings.iter().map(|heading| heading.to_uppercase()));
        // Where there is no room to wrap into, or a terminal that does not know its width.
        if table.width().is_some_and(|width| width < NARROW) {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
        table.add_rows(rows);
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        for line in table.to_string().lines() {
            self.print_line(line.trim_end())?;
        }
        Ok(())
    }

    /// A list of JSON objects: a table for people, the JSON itself for programs.
    pub fn print_list(
        &mut self,
        columns: &[ListColumn],
        values: &[Value],
        none: &str,
    ) -> io::Result<()> {
        if !self.human {
            return self.print_json(&Value::Array(values.to_vec()));
        }
        if values.is_empty() {
            return self.print_line(none);
        }
        let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
        let row = |value: &Value| columns.iter().map(|(_, paths)| cell(value, paths)).collect();
        self.print_table(&headings, values.iter().map(row).collect())
    }

    /// One JSON object: YAML for people, which reads best, JSON for programs.
    pub fn print_object(&mut self, value: &Value) -> io::Result<()> {
        if !self.human {
            return self.print_json(value);
        }
        let text = serde_norway::to_string(value).map_err(io::Error::other)?;
        self.print_line(text.trim_end())
    }

    /// What a command did: a sentence for people, the server's answer for programs.
    pub fn print_outcome(&mut self, sentence: impl fmt::Display, answer: &Value) -> io::Result<()> {
        if self.human { self.print_line(sentence) } else { self.print_json(answer) }
    }
}

/// The first value found at the paths, in one line.
fn cell(value: &Value, paths: &[&str]) -> String {
    paths
        .iter()
        .find_map(|path| value.pointer(path).filter(|found| !found.is_null()))
        .map(inline)
        .unwrap_or_default()
}

fn inline(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(inline).collect::<Vec<_>>().join(", "),
        Value::Object(members) => {
            members.get("name").map_or_else(|| Value::Object(members.clone()).to_string(), inline)
        }
    }
}
