//! The cases of a folder: JSON files, and folders with a file for each member.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::cli::CliError;
use crate::cli::input::read_document;
use crate::wasm::golden_case::GoldenCase;

/// The members of a case.
const MEMBERS: [&str; 9] =
    ["event", "events", "config", "delivery", "state", "records", "answers", "secrets", "expected"];
/// The member with the expected result.
const EXPECTED: &str = "expected";
/// Most cases of a folder.
const MOST_CASES: usize = 1_000;
/// Largest file of a case, in bytes.
const LARGEST_FILE: u64 = 16 << 20;

/// A case, and where it came from.
#[derive(Debug)]
pub struct CaseFile {
    /// The name of its file without the ending, or of its folder.
    pub name: String,
    /// The case, or what is wrong with it.
    pub case: Result<GoldenCase, String>,
    /// The expected result: an object for `event`, a list for `events`.
    pub expected: Option<Value>,
    path: PathBuf,
    members: Map<String, Value>,
}

/// Reads all cases of a folder, by name.
pub fn read_cases(folder: &Path) -> Result<Vec<CaseFile>, CliError> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(CliError::reading(folder))? {
        let path = entry.map_err(CliError::reading(folder))?.path();
        if path.is_dir() || has_ending(&path, &["json"]) {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() || paths.len() > MOST_CASES {
        let what = format!("{} has {} cases", folder.display(), paths.len());
        let next = format!("a case is a JSON file or a folder; 1 to {MOST_CASES} are run at once");
        return Err(CliError::with_next(what, next));
    }
    paths.into_iter().map(CaseFile::read).collect()
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| endings.contains(&ending))
}

fn file_stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

impl CaseFile {
    fn read(path: PathBuf) -> Result<Self, CliError> {
        let (name, members) = if path.is_dir() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, read_folder(&path)?)
        } else {
            let Value::Object(members) = read_bounded(&path)? else {
                let what = format!("{} is not an object", path.display());
                return Err(CliError::with_next(what, members_hint()));
            };
            (file_stem(&path), members)
        };
        let expected = members.get(EXPECTED).cloned();
        Ok(Self { name, case: read_case(&members), expected, path, members })
    }

    /// Returns the results in the form of the expected one: a list if the case has `events`.
    pub fn shape_results(&self, results: Vec<Value>) -> Value {
        let shaped = if self.members.contains_key("events") {
            Value::Array(results)
        } else {
            results.into_iter().next().unwrap_or_default()
        };
        // A number may be read differently from how it was computed, in its last digit.
        serde_json::from_str(&shaped.to_string()).unwrap_or(shaped)
    }

    /// Writes the expected result: into the file of the case, or into the case's folder.
    pub fn write_expected(&self, got: &Value) -> Result<(), CliError> {
        let (path, text) = if self.path.is_dir() {
            (self.path.join("expected.json"), format!("{got:#}\n"))
        } else {
            let mut members = self.members.clone();
            members.insert(EXPECTED.to_owned(), got.clone());
            (self.path.clone(), format!("{:#}\n", Value::Object(members)))
        };
        std::fs::write(&path, text).map_err(CliError::writing(&path))
    }
}

fn read_bounded(path: &Path) -> Result<Value, CliError> {
    let size = std::fs::metadata(path).map_err(CliError::reading(path))?.len();
    if size > LARGEST_FILE {
        let what = format!("{} has {size} bytes, the limit is {LARGEST_FILE}", path.display());
        return Err(CliError::failed(what));
    }
    read_document(path)
}

/// Reads the files of a case's folder. The name of each is that of a member.
fn read_folder(folder: &Path) -> Result<Map<String, Value>, CliError> {
    let mut members = Map::new();
    for entry in std::fs::read_dir(folder).map_err(CliError::reading(folder))? {
        let path = entry.map_err(CliError::reading(folder))?.path();
        if !has_ending(&path, &["json", "yaml", "yml", "toml"]) {
            continue;
        }
        if members.insert(file_stem(&path), read_bounded(&path)?).is_some() {
            let what = format!("{} has `{}` twice", folder.display(), file_stem(&path));
            return Err(CliError::with_next(what, "delete one of the files"));
        }
    }
    Ok(members)
}

fn members_hint() -> String {
    format!("a case has the members {}", MEMBERS.join(", "))
}

fn read_case(members: &Map<String, Value>) -> Result<GoldenCase, String> {
    if let Some(unknown) = members.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
        return Err(format!("`{unknown}` is not a member: {}", members_hint()));
    }
    let events = match (members.get("event"), members.get("events")) {
        (Some(event), None) => vec![event.clone()],
        (None, Some(Value::Array(events))) if !events.is_empty() => events.clone(),
        (None, Some(_)) => return Err("`events` is a list with at least one event".to_owned()),
        (None, None) => return Err("it has neither `event` nor `events`".to_owned()),
        (Some(_), Some(_)) => return Err("it has both `event` and `events`".to_owned()),
    };
    let world = ["state", "records", "answers", "secrets"].into_iter();
    let world = world.filter_map(|name| Some((name.to_owned(), members.get(name)?.clone())));
    let world = Value::Object(world.collect());
    Ok(GoldenCase {
        events,
        config: members.get("config").cloned(),
        delivery: members.get("delivery").map(read_member).transpose()?,
        world: read_member(&world)?,
    })
}

fn read_member<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value)
        .map_err(|error| format!("{}: {}", error.path(), error.inner()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fault(case: &Value) -> String {
        read_case(case.as_object().unwrap()).unwrap_err()
    }

    #[test]
    fn what_is_wrong_with_a_case_is_named() {
        let event = json!({"type": "a.b", "data": {}});
        assert!(fault(&json!({})).contains("neither"));
        assert!(fault(&json!({"event": event, "events": [event]})).contains("both"));
        assert!(fault(&json!({"events": []})).contains("at least one"));
        assert!(fault(&json!({"event": event, "confg": {}})).contains("`confg`"));
        let wrong = fault(&json!({"event": event, "answers": [{"url": 7}]}));
        assert!(wrong.contains("answers[0].url"), "{wrong}");
    }

    #[test]
    fn a_case_is_read_from_a_file_and_from_a_folder_and_written_back() {
        let folder = tempfile::tempdir().unwrap();
        let event = json!({"type": "a.b", "data": {"n": 1}});
        std::fs::write(folder.path().join("b.json"), json!({"event": event}).to_string()).unwrap();
        std::fs::write(folder.path().join("README.md"), "no case").unwrap();
        let inner = folder.path().join("a");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("events.yaml"), "- type: a.b\n  data: {n: 1}\n").unwrap();
        let cases = read_cases(folder.path()).unwrap();
        assert_eq!(cases.iter().map(|case| case.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        for case in &cases {
            assert_eq!(case.case.as_ref().unwrap().events, std::slice::from_ref(&event));
            assert_eq!(case.expected, None);
            let got = case.shape_results(vec![json!({"end": "out"})]);
            case.write_expected(&got).unwrap();
        }
        let cases = read_cases(folder.path()).unwrap();
        assert_eq!(cases[0].expected, Some(json!([{"end": "out"}])));
        assert_eq!(cases[1].expected, Some(json!({"end": "out"})));
        assert_eq!(cases[1].case.as_ref().unwrap().events, [event]);
    }

    #[test]
    fn an_empty_folder_is_no_success() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read_cases(folder.path()).unwrap_err().to_string().contains("0 cases"));
    }
}
