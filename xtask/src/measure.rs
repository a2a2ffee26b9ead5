//! `measure`: figures about the readability of the code.
//!
//! The figures are those of the code review that began the restructuring, so that progress can be
//! seen: names of one word, names that two types share, comments, and the lengths of functions,
//! files and commit titles. Lines are read as text without parsing, so macros count as written.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use comfy_table::{Table, presets};

use crate::process::{command, output, workspace};

/// The widest line that `rustfmt.toml` permits for code, in characters.
const WIDEST_LINE: usize = 100;
/// Number of the newest commits whose titles are measured.
const COMMITS: &str = "100";

/// The counts over all files.
#[derive(Debug, Default)]
struct Counts {
    lines: usize,
    types: Vec<String>,
    functions: Vec<String>,
    function_lengths: Vec<usize>,
    file_lengths: Vec<usize>,
    inline_comments: usize,
    doc_comments: usize,
    short_doc_comments: usize,
    wide_comments: usize,
    restricted_items: usize,
    silent_defaults: usize,
}

/// `cargo xtask measure`: prints one table.
pub(crate) async fn run() -> Result<()> {
    let mut counts = Counts::default();
    for file in rust_files(&workspace().join("host/src"))? {
        counts.add(&std::fs::read_to_string(file)?);
    }
    let titles = output(command("git", &["log", "--format=%s", "-n", COMMITS])).await?;
    let titles: Vec<usize> = titles.lines().map(|title| title.chars().count()).collect();
    println!("{}", table(&counts, &titles));
    Ok(())
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

impl Counts {
    fn add(&mut self, text: &str) {
        let lines: Vec<&str> = text.lines().collect();
        self.lines += lines.len();
        self.file_lengths.push(lines.len());
        for (number, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            self.add_comment(line, code);
            if let Some(name) = declared(code, &["struct ", "enum ", "trait ", "type "]) {
                self.types.push(name.to_owned());
            }
            if let Some(name) = declared(code, &["fn "]) {
                self.functions.push(name.to_owned());
                self.function_lengths.extend(function_length(&lines, number));
            }
            let restricted = code.contains("pub(super)") || code.contains("pub(in ");
            self.restricted_items += usize::from(restricted);
            self.silent_defaults += code.matches("unwrap_or_default()").count();
        }
    }

    fn add_comment(&mut self, line: &str, code: &str) {
        if let Some(text) = code.strip_prefix("///") {
            self.doc_comments += 1;
            self.short_doc_comments += usize::from(text.split_whitespace().count() <= 3);
        } else if code.starts_with("// ") {
            self.inline_comments += 1;
        }
        let is_wide = code.starts_with("//") && line.chars().count() > WIDEST_LINE;
        self.wide_comments += usize::from(is_wide);
    }
}

/// Returns the name that a line declares with one of these keywords, whatever precedes the keyword.
fn declared<'a>(code: &'a str, keywords: &[&str]) -> Option<&'a str> {
    const QUALIFIERS: [&str; 4] = ["async ", "const ", "unsafe ", "extern "];
    let mut rest = code;
    if let Some(after) = rest.strip_prefix("pub") {
        rest = match after.strip_prefix('(') {
            Some(scope) => scope.split_once(')')?.1.trim_start(),
            None => after.trim_start(),
        };
    }
    while let Some(after) = QUALIFIERS.iter().find_map(|qualifier| rest.strip_prefix(qualifier)) {
        rest = after;
    }
    let name = keywords.iter().find_map(|keyword| rest.strip_prefix(keyword))?;
    name.split(|c: char| !c.is_alphanumeric() && c != '_').next().filter(|name| !name.is_empty())
}

/// Returns the number of lines of the function that begins here, up to its closing brace, or `None`
/// for one without a body.
fn function_length(lines: &[&str], start: usize) -> Option<usize> {
    let first = lines.get(start)?;
    let indent = first.len() - first.trim_start().len();
    if first.trim_end().ends_with('}') {
        return Some(1);
    }
    for (offset, line) in lines.iter().skip(start).enumerate().skip(1) {
        let own_indent = line.len() - line.trim_start().len();
        if own_indent == indent && line.trim_start().starts_with('}') {
            return Some(offset + 1);
        }
        if own_indent == indent && line.trim_end().ends_with(';') {
            return None;
        }
    }
    None
}

/// Returns whether a name in `CamelCase` or `snake_case` consists of one word.
fn is_one_word(name: &str) -> bool {
    let humps = name.chars().filter(|c| c.is_uppercase()).count();
    !name.contains('_') && humps <= 1
}

fn table(counts: &Counts, titles: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(["measure", "figure"]);
    let one_word = |names: &[String]| names.iter().filter(|name| is_one_word(name)).count();
    let mut row = |name: &str, figure: String| {
        table.add_row([name, &figure]);
    };
    row("lines", counts.lines.to_string());
    row("types of one word", percent(one_word(&counts.types), counts.types.len()));
    row("types that share a name", percent(shared(&counts.types), counts.types.len()));
    row("functions of one word", percent(one_word(&counts.functions), counts.functions.len()));
    row("lines that are inline comments", percent(counts.inline_comments, counts.lines));
    row("doc lines of three words or fewer", counts.short_doc_comments.to_string());
    row("doc lines", counts.doc_comments.to_string());
    row("comments wider than 100 columns", counts.wide_comments.to_string());
    row("`pub(super)` and `pub(in …)`", counts.restricted_items.to_string());
    row("`unwrap_or_default()`", counts.silent_defaults.to_string());
    row("lines of a function: median, p90, max", spread(&counts.function_lengths));
    row("lines of a file: median, p90, max", spread(&counts.file_lengths));
    row("commit titles: median, p90, max", spread(titles));
    table
}

fn shared(names: &[String]) -> usize {
    let mut uses: HashMap<&str, usize> = HashMap::new();
    for name in names {
        *uses.entry(name).or_default() += 1;
    }
    uses.values().filter(|count| **count > 1).sum()
}

fn percent(part: usize, whole: usize) -> String {
    let tenths = part * 1_000 / whole.max(1);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// Returns the median, the 90th percentile and the largest of some lengths.
fn spread(lengths: &[usize]) -> String {
    let mut sorted = lengths.to_vec();
    sorted.sort_unstable();
    let at = |percent: usize| {
        let place = sorted.len().saturating_sub(1) * percent / 100;
        sorted.get(place).copied().unwrap_or(0)
    };
    format!("{} / {} / {}", at(50), at(90), at(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_found_behind_their_qualifiers() {
        let types = ["struct ", "enum "];
        assert_eq!(declared("pub(in crate::api) struct RunView {", &types), Some("RunView"));
        assert_eq!(declared("pub(crate) async fn send_now<T>(", &["fn "]), Some("send_now"));
        assert_eq!(declared("// struct Nothing", &types), None);
        assert_eq!(declared("let structure = 1;", &types), None);
    }

    #[test]
    fn a_function_ends_at_the_brace_of_its_own_indent() {
        let lines =
            ["    fn first() {", "        if true {", "        }", "    }", "    fn open();"];
        assert_eq!(function_length(&lines, 0), Some(4));
        assert_eq!(function_length(&["fn short() {}"], 0), Some(1));
    }

    #[test]
    fn words_and_shared_names_are_counted() {
        assert!(is_one_word("Journal") && is_one_word("take"));
        assert!(!is_one_word("SourceRow") && !is_one_word("read_rows"));
        let names = ["Row", "Row", "Event"].map(str::to_owned);
        assert_eq!((shared(&names), percent(2, 3)), (2, "66.6 %".to_owned()));
        assert_eq!(spread(&[3, 1, 2]), "2 / 2 / 3");
    }
}
