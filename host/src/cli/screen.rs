//! The output of commands: tables and plain text for people, JSON for programs.

pub mod age;
pub mod list_table;
pub mod look;
pub mod short_id;
pub mod state;

use std::fmt;
use std::io::{self, BufRead, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::time::clock::Clock;
pub use look::{LookArgs, ScreenLook};

/// The output of a command.
pub struct CommandScreen<'a> {
    out: &'a mut (dyn Write + Send),
    human: bool,
    look: ScreenLook,
    clock: Clock,
    answers: Option<&'a mut (dyn BufRead + Send)>,
}

impl fmt::Debug for CommandScreen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screen").field("human", &self.human).finish_non_exhaustive()
    }
}

/// Below this width a terminal shows a table better by cutting or wrapping its lines itself.
const NARROW: u16 = 60;

/// A column of a list: its heading, and the JSON pointers to try for its value.
pub type ListColumn = (&'static str, &'static [&'static str]);

impl<'a> CommandScreen<'a> {
    /// Creates a screen on `out`. `terminal` says whether a person reads it.
    pub fn new(out: &'a mut (dyn Write + Send), terminal: bool) -> Self {
        let (look, clock) = (ScreenLook::default(), Clock::System);
        Self { out, human: terminal, look, clock, answers: None }
    }

    /// Changes the look of text for people.
    pub const fn set_look(&mut self, look: ScreenLook) {
        self.look = look;
    }

    /// Returns the look of text for people.
    pub const fn look(&self) -> ScreenLook {
        self.look
    }

    /// Returns the clock from which ages are computed.
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Allows questions, which a person answers on `answers`.
    pub fn set_answers(&mut self, answers: &'a mut (dyn BufRead + Send)) {
        self.answers = Some(answers);
    }

    /// Asks a question that is answered with yes or no. Without a person, or with output for
    /// programs, no question is asked and the answer is yes.
    pub fn ask(&mut self, question: &str) -> io::Result<bool> {
        let Some(answers) = self.answers.as_mut().filter(|_| self.human) else { return Ok(true) };
        write!(self.out, "{question} [y/N] ")?;
        self.out.flush()?;
        let mut answer = String::new();
        // A person types only a few bytes; a file in the place of a person may hold more.
        io::Read::take(&mut **answers, 1024).read_line(&mut answer)?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Switches the output to JSON, even on a terminal.
    pub const fn force_json(&mut self, json: bool) {
        self.human &= !json;
    }

    /// Returns whether the output is for people.
    pub const fn is_human(&self) -> bool {
        self.human
    }

    /// Clears a terminal before a screen is drawn again.
    pub fn clear(&mut self) -> io::Result<()> {
        if self.human { self.print_bytes(b"\x1b[H\x1b[2J") } else { Ok(()) }
    }

    /// Prints one line of text at once.
    pub fn print_line(&mut self, text: impl fmt::Display) -> io::Result<()> {
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// Prints raw bytes.
    pub fn print_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.flush()
    }

    /// Prints a value as indented JSON.
    pub fn print_json(&mut self, value: &Value) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *self.out, value)?;
        self.print_line("")
    }

    /// Prints rows as a table.
    pub fn print_table(&mut self, headings: &[&str], rows: Vec<Vec<String>>) -> io::Result<()> {
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_header(headings.iter().copied());
        // On a terminal that is too narrow, or does not know its width.
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

    /// Prints a list of JSON objects: a table for people, the JSON itself for programs.
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
        let table = list_table::ListTable { columns, values, look: self.look };
        for line in table.lines(self.clock.wall()) {
            self.print_line(line.trim_end())?;
        }
        Ok(())
    }

    /// Prints one JSON object: as YAML for people, because it is easier to read, and as JSON for
    /// programs.
    pub fn print_object(&mut self, value: &Value) -> io::Result<()> {
        if !self.human {
            return self.print_json(value);
        }
        let text = serde_norway::to_string(value).map_err(io::Error::other)?;
        self.print_line(text.trim_end())
    }

    /// Prints the result of a command: a sentence for people, the server's answer for programs.
    pub fn print_outcome(&mut self, sentence: impl fmt::Display, answer: &Value) -> io::Result<()> {
        if self.human { self.print_line(sentence) } else { self.print_json(answer) }
    }
}
