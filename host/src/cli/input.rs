//! What people type and the files they name, as JSON.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value};

use super::CliError;

/// Settings of a thing that is created or changed.
#[derive(Debug, Default, Args)]
pub struct SettingsArgs {
    /// Settings from a JSON, YAML or TOML file.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// One setting, dotted: `--set retry.jitter=0.2`, `--set ordered=true`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl SettingsArgs {
    /// The object that file, `named` options and `--set` make, the later over the earlier.
    pub fn object(&self, named: Vec<(&str, Option<Value>)>) -> Result<Value, CliError> {
        let mut object = match &self.from {
            Some(path) => read_document(path)?,
            None => Value::Object(Map::new()),
        };
        for (key, value) in named {
            if let Some(value) = value {
                put(&mut object, key, value)?;
            }
        }
        for pair in &self.set {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                CliError::Usage(format!("--set {pair}: write KEY=VALUE, such as timeout=10s"))
            })?;
            put(&mut object, key, literal(value))?;
        }
        Ok(object)
    }
}

/// Text as JSON if it is JSON, else as a string.
pub fn literal(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// `a,b` as a JSON array of strings.
pub fn names(names: &[String]) -> Option<Value> {
    (!names.is_empty()).then(|| names.iter().cloned().map(Value::String).collect())
}

fn put(object: &mut Value, key: &str, value: Value) -> Result<(), CliError> {
    let mut place = object;
    for part in key.split('.') {
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
        let members = place.as_object_mut().ok_or_else(|| {
            CliError::Usage(format!("{key}: what stands before `{part}` is not an object"))
        })?;
        place = members.entry(part).or_insert(Value::Null);
    }
    *place = value;
    Ok(())
}

/// A file as JSON; `.toml`, `.yaml` and `.yml` are read as such, anything else as JSON.
pub fn read_document(path: &Path) -> Result<Value, CliError> {
    let text = std::fs::read_to_string(path).map_err(CliError::reading(path))?;
    parse_document(path, &text)
}

/// As [`read_document`], with the text at hand.
pub fn parse_document(path: &Path, text: &str) -> Result<Value, CliError> {
    let fault = |error: String| CliError::failed(format!("{}: {error}", path.display()));
    match path.extension().and_then(OsStr::to_str) {
        Some("toml") => toml::from_str(text).map_err(|error| fault(toml_fault(&error, text))),
        Some("yaml" | "yml") => {
            serde_norway::from_str(text).map_err(|error| fault(error.to_string()))
        }
        Some(_) | None => serde_json::from_str(text).map_err(|error| fault(error.to_string())),
    }
}

/// Returns what is wrong with a TOML text, and where. The error's own text quotes the whole line,
/// which may hold a secret; those of JSON and YAML quote no values.
fn toml_fault(error: &toml::de::Error, text: &str) -> String {
    let message = error.message();
    let before = error.span().and_then(|span| text.get(..span.start));
    before.map_or_else(
        || message.to_owned(),
        |before| {
            let line_begin = before.rfind('\n').map_or(0, |end| end + 1);
            let line = before.matches('\n').count() + 1;
            let column = before.get(line_begin..).unwrap_or_default().chars().count() + 1;
            format!("{message} at line {line} column {column}")
        },
    )
}
