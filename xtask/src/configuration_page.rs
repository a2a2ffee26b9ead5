//! `docs/configuration.md`: the settings of a server as tables, from `waybill.example.toml`. A test
//! of the program compares that file with the keys that it knows.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};

use crate::events::cell;

/// The text of the page before its tables.
const INTRODUCTION: &str = "# Configuration reference

<!-- Written by `cargo xtask gen` from waybill.example.toml: change that. -->

`waybill serve --config FILE` reads a TOML file; without one, defaults hold. Each setting can also be set in the environment
as `WAYBILL_SECTION__KEY`: `server.listen` is `WAYBILL_SERVER__LISTEN`, and a list is written as in TOML,
`WAYBILL_DELIVERY__ALLOW_NETWORKS='[\"10.0.0.0/8\"]'`. The environment wins over the file, the command line over both. A server with
an unknown key or a bad value does not start, and names all of them; `waybill doctor --config FILE` tells the same beforehand.
A change takes effect at the next start.

Durations are texts such as `\"250ms\"`, `\"30s\"`, `\"5m\"` and `\"1h30m\"`. Sizes are bytes.
";

/// One setting of the example.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    key: String,
    value: String,
    /// Whether the value is the default. Otherwise the line is a comment, and the value an example.
    is_default: bool,
    meaning: String,
}

/// One table of the file.
#[derive(Debug, Default)]
struct Section {
    name: String,
    /// Comments that do not belong to a setting.
    about: Vec<String>,
    settings: Vec<Setting>,
}

/// Builds the page from the text of `waybill.example.toml`.
pub(crate) fn page(example: &str) -> Result<String> {
    let (head, body) = example.split_once("\n[").context("the example has sections")?;
    let mut page = INTRODUCTION.to_owned();
    write_variables(&mut page, head)?;
    for section in read_sections(&format!("[{body}"))? {
        write_section(&mut page, &section)?;
    }
    Ok(page)
}

/// Writes the variables that are not settings of the file: `#   WAYBILL_X   what it is`.
fn write_variables(page: &mut String, head: &str) -> Result<()> {
    let variables = head.lines().filter_map(|line| line.strip_prefix("#   "));
    page.push_str("\n## The environment alone\n\n| variable | meaning |\n|---|---|\n");
    for line in variables {
        let (name, meaning) = line.split_once(' ').context("a variable has a meaning")?;
        writeln!(page, "| `{name}` | {} |", cell(meaning.trim()))?;
    }
    Ok(())
}

fn write_section(page: &mut String, section: &Section) -> Result<()> {
    write!(page, "\n## {}\n\n", section.name)?;
    for paragraph in &section.about {
        writeln!(page, "{paragraph}\n")?;
    }
    page.push_str("| setting | default | meaning |\n|---|---|---|\n");
    for setting in &section.settings {
        let value = format!("`{}`", setting.value);
        let (default, example) = if setting.is_default {
            (value, String::new())
        } else {
            ("not set".to_owned(), format!(" Example: {value}."))
        };
        ensure!(!setting.meaning.is_empty(), "{}.{} has no comment", section.name, setting.key);
        let meaning = cell(&format!("{}{example}", setting.meaning));
        let (name, key) = (&section.name, &setting.key);
        writeln!(page, "| `{name}.{key}` | {} | {meaning} |", cell(&default))?;
    }
    Ok(())
}

/// Parses the file by its lines: comments belong to the setting after them, or to the section if a
/// blank line follows.
fn read_sections(body: &str) -> Result<Vec<Section>> {
    let mut sections: Vec<Section> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in body.lines().chain([""]) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            ensure!(comment.is_empty(), "a comment stands before [{name}]");
            sections.push(Section { name: name.to_owned(), ..Section::default() });
            continue;
        }
        let section = sections.last_mut().context("the file begins with a section")?;
        if let Some(setting) = read_setting(line, &comment) {
            section.settings.push(setting);
            comment.clear();
        } else if let Some(text) = line.strip_prefix("# ") {
            comment.push(text);
        } else {
            ensure!(line.is_empty(), "neither a comment nor a setting: {line}");
            if !comment.is_empty() {
                section.about.push(comment.join("\n"));
                comment.clear();
            }
        }
    }
    Ok(sections)
}

/// Parses a setting, which may be in a comment.
fn read_setting(line: &str, comment: &[&str]) -> Option<Setting> {
    let bare = line.strip_prefix("# ");
    let (key, value) = bare.unwrap_or(line).split_once(" = ")?;
    let is_key = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    if !key.bytes().all(is_key) {
        return None;
    }
    let (key, value) = (key.to_owned(), value.to_owned());
    Some(Setting { key, value, is_default: bare.is_none(), meaning: comment.join(" ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_go_to_the_setting_after_them() {
        let body = "[a]\n# About all.\n\n# Where it\n# listens.\nlisten = \"x\"\n# An example: k = v.\n# folder = \"/y\"\n";
        let sections = read_sections(body).unwrap();
        let section = sections.first().unwrap();
        assert_eq!(section.about, ["About all."]);
        let [listen, folder] = section.settings.as_slice() else { panic!("{section:?}") };
        assert!(listen.is_default && listen.meaning == "Where it listens.", "{listen:?}");
        assert!(!folder.is_default && folder.value == "\"/y\"", "{folder:?}");
    }

    #[test]
    fn the_example_of_the_repository_can_be_read() {
        let page = page(include_str!("../../waybill.example.toml")).unwrap();
        for part in [
            "| `server.listen` | `\"127.0.0.1:8400\"` |",
            "| `WAYBILL_SECRET_KEY` |",
            "## retention",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
    }
}
