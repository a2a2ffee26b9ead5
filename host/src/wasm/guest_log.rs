//! The log of a guest, within bounds.

use serde::{Deserialize, Serialize};

/// The severity of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Single steps of the module.
    Trace,
    /// Details for debugging the module.
    Debug,
    /// Normal events. Lines of standard output have this level.
    Info,
    /// Unusual events. Lines of standard error, where Rust writes its panics, have this level.
    Warn,
    /// Failures.
    Error,
}

/// One line of a module's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub level: LogLevel,
    pub message: String,
    /// Names and values beside the message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<(String, String)>,
}

/// Bytes of a line in the trace beside its texts: `{"level":"info","message":""},`.
const LINE_FRAME: usize = 30;
/// Bytes of a field in the trace beside its texts: `["",""],`. So a field of empty texts counts
/// too.
const FIELD_FRAME: usize = 8;

impl LogLine {
    /// Returns about how many bytes the line takes in the trace.
    pub fn size(&self) -> usize {
        let fields = self.fields.iter().map(|(name, value)| field_size(name, value));
        LINE_FRAME + self.message.len() + fields.sum::<usize>()
    }
}

/// Returns about how many bytes a field takes in the trace.
pub const fn field_size(name: &str, value: &str) -> usize {
    FIELD_FRAME + name.len() + value.len()
}

/// The lines of one call. Lines beyond the bounds are left out, and one line says so.
#[derive(Debug)]
pub struct GuestLog {
    lines: Vec<LogLine>,
    lines_left: usize,
    bytes_left: usize,
    cut: bool,
}

impl GuestLog {
    pub fn new(lines: usize, bytes: usize) -> Self {
        Self { lines: Vec::new(), lines_left: lines, bytes_left: bytes, cut: false }
    }

    /// Returns the number of bytes that another line may have. 0 if no further line is taken.
    pub fn room(&self) -> usize {
        if self.lines_left == 0 { 0 } else { self.bytes_left }
    }

    /// Adds a line, cut to the room that is left.
    pub fn push(&mut self, level: LogLevel, message: &str, fields: Vec<(String, String)>) {
        let room = self.room();
        if room == 0 {
            self.cut = true;
            return;
        }
        let kept = clip(message, room);
        let fields_size: usize = fields.iter().map(|(name, value)| field_size(name, value)).sum();
        let fits = kept.len() + fields_size <= room;
        self.cut |= kept.len() < message.len() || !fits;
        // An empty line costs a byte too, so that a flood of them ends.
        let size = kept.len().max(1) + if fits { fields_size } else { 0 };
        self.bytes_left = self.bytes_left.saturating_sub(size);
        self.lines_left -= 1;
        let fields = if fits { fields } else { Vec::new() };
        self.lines.push(LogLine { level, message: kept.to_owned(), fields });
    }

    /// Notes that a line was cut or left out.
    pub fn cut(&mut self) {
        self.cut = true;
    }

    /// Returns the last lines of standard error, joined to one line.
    pub fn last_words(&self) -> Option<String> {
        let printed = |line: &&LogLine| line.level == LogLevel::Warn && line.fields.is_empty();
        let mut lines: Vec<_> = self
            .lines
            .iter()
            .rev()
            .take_while(printed)
            .map(|line| line.message.as_str())
            .filter(|text| !text.starts_with("note: "))
            .collect();
        lines.reverse();
        (!lines.is_empty()).then(|| lines.join(" "))
    }

    /// Returns the lines so far, and starts again with these bounds.
    pub fn take(&mut self, lines: usize, bytes: usize) -> Vec<LogLine> {
        let mut taken = std::mem::replace(self, Self::new(lines, bytes));
        if taken.cut {
            taken.lines.push(LogLine {
                level: LogLevel::Warn,
                message: format!("log truncated: at most {lines} lines and {bytes} bytes are kept"),
                fields: Vec::new(),
            });
        }
        taken.lines
    }
}

/// Returns the beginning of `text`: at most `max` bytes, cut between characters.
pub fn clip(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_lines_ends_with_a_note() {
        let mut log = GuestLog::new(3, 1000);
        for n in 0..10 {
            log.push(LogLevel::Info, &n.to_string(), Vec::new());
        }
        let lines = log.take(3, 1000);
        let texts: Vec<_> = lines.iter().map(|line| line.message.as_str()).collect();
        assert_eq!(
            texts,
            ["0", "1", "2", "log truncated: at most 3 lines and 1000 bytes are kept"]
        );
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let mut log = GuestLog::new(3, 4);
        log.push(LogLevel::Info, "aéé", vec![("k".to_owned(), "v".to_owned())]);
        let lines = log.take(3, 4);
        assert_eq!(lines[0].message, "aé");
        assert!(lines[0].fields.is_empty());
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn fields_of_empty_texts_take_room_too() {
        let mut log = GuestLog::new(3, 1000);
        let empty = |count| vec![(String::new(), String::new()); count];
        log.push(LogLevel::Info, "few", empty(100));
        log.push(LogLevel::Info, "many", empty(100));
        let lines = log.take(3, 1000);
        assert_eq!((lines[0].fields.len(), lines[1].fields.len()), (100, 0));
        assert!(lines[2].message.starts_with("log truncated"));
        let trace = serde_json::to_string(&lines[..1]).unwrap();
        assert!(trace.len() <= lines[0].size() + 30, "{} bytes", trace.len());
    }

    #[test]
    fn the_bounds_begin_anew_for_each_call() {
        let mut log = GuestLog::new(1, 10);
        log.push(LogLevel::Info, "first", Vec::new());
        assert_eq!(log.take(1, 10).len(), 1);
        log.push(LogLevel::Info, "second", Vec::new());
        assert_eq!(log.take(1, 10)[0].message, "second");
    }
}
