//! The documents for operators: their commands and flags exist in the program, and their links lead
//! somewhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use waybill_tests::world::binary;

/// Returns the README and every page under `docs/`, without decisions, with their texts.
fn documents() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
    let mut files = vec![root.join("README.md")];
    for folder in ["docs", "docs/guides"] {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    files.into_iter().map(|file| (file.clone(), std::fs::read_to_string(file).unwrap())).collect()
}

/// Returns the manual page of every command, by its name such as `waybill-endpoint-create`.
fn manual() -> BTreeMap<String, String> {
    let folder = tempfile::TempDir::new().unwrap();
    let made = Command::new(binary()).args(["man", "--dir"]).arg(folder.path()).status().unwrap();
    assert!(made.success());
    let entries = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let page = |file: PathBuf| {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(file).unwrap())
    };
    entries.map(page).collect()
}

/// Returns the words after `waybill` in the code of a text, up to a comment or another command.
fn commands(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("    "));
    lines.filter_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word != "waybill").peekable();
        // The first may be the user's name, as in `sudo -u waybill waybill doctor`.
        while words.next_if_eq(&"waybill").is_some() {}
        let ends = |word: &&str| !word.starts_with('#') && !matches!(*word, "|" | ">" | "&&");
        let words: Vec<&str> = words.take_while(ends).collect();
        (!words.is_empty()).then_some(words)
    })
}

/// Returns the page of the command that the first words name.
fn find_page<'m>(manual: &'m BTreeMap<String, String>, words: &[&str]) -> Option<&'m str> {
    let name = |count: usize| format!("waybill-{}", words[..count].join("-"));
    let mut deepest = (1..=words.len().min(2)).rev();
    deepest.find_map(|count| manual.get(&name(count))).map(String::as_str)
}

#[test]
fn every_command_in_the_documents_is_one_of_the_program() {
    let manual = manual();
    let (mut checked, mut wrong) = (0, Vec::new());
    for (file, text) in documents() {
        for words in commands(&text) {
            let Some(page) = find_page(&manual, &words) else { continue };
            checked += 1;
            for flag in words.iter().filter(|word| word.starts_with("--") && word.len() > 2) {
                let flag = flag.split_once('=').map_or(*flag, |(flag, _)| flag);
                // In roff's form, with the end of the bold text after it.
                if !page.contains(&format!("{}\\fR", flag.replace('-', "\\-"))) {
                    wrong.push(format!("{}: {flag} in {}", file.display(), words.join(" ")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checked > 50, "only {checked} commands were found");
}

#[test]
fn every_link_to_a_file_leads_to_one() {
    let mut wrong = Vec::new();
    for (file, text) in documents() {
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        for (target, _) in targets.filter(|(target, _)| !target.contains("://")) {
            let path = target.split_once('#').map_or(target, |(path, _)| path);
            if !path.is_empty() && !file.parent().unwrap().join(path).exists() {
                wrong.push(format!("{}: {target}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
