//! What a guest writes, bounded.

use serde::{Deserialize, Serialize};

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// For whoever debugs the module.
    Debug,
    /// What happened; also a line on standard output.
    Info,
    /// Something is odd; also a line on standard error, where Rust writes its panics.
    Warn,
    /// Something went wrong.
    Error,
}

/// One line of a module's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// How much it matters.
    pub level: LogLevel,
    /// The text.
    pub message: String,
    /// Further names and values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<(String, String)>,
}

/// Bytes of a line in the trace without its texts: `{"level":"info","message":""},`.
const LINE_FRAME: usize = 30;
/// Bytes of a field in the trace without its texts: `["",""],`. Fields of empty texts are not free.
const FIELD_FRAME: usize = 8;

impl LogLine {
    /// Bytes that it takes in the trace, roughly.
    pub fn size(&self) -> usize {
        let fields = self.fields.iter().map(|(name, value)| field_size(name, value));
        LINE_FRAME + self.message.len() + fields.sum::<usize>()
    }
}

/// Bytes that a field takes in the trace, roughly.
pub const fn field_size(name: &str, value: &str) -> usize {
    FIELD_FRAME + name.len() + value.len()
}

/// The lines of one call. What exceeds its bounds is left out, and one line says so.
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

    /// How many bytes another line may have; 0 where none is taken any more.
    pub fn room(&self) -> usize {
        if self.lines_left == 0 { 0 } else { self.bytes_left }
    }

    /// Adds a line, or what there is room for.
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
        // An empty line costs a byte too: no flood is free.
        let size = kept.len().max(1) + if fits { fields_size } else { 0 };
        self.bytes_left = self.bytes_left.saturating_sub(size);
        self.lines_left -= 1;
        let fields = if fits { fields } else { Vec::new() };
        self.lines.push(LogLine { level, message: kept.to_owned(), fields });
    }

    /// Notes that something was left out.
    pub fn cut(&mut self) {
        self.cut = true;
    }

    /// What was printed last on standard error, on one line.
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

    /// The lines so far; the bounds begin anew.
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

/// The beginning of `text`, at most `max` bytes, cut between characters.
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
