//! Reads arguments and files as JSON.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value};

use super::CliError;

/// The settings of an object that is created or changed.
#[derive(Debug, Default, Args)]
pub struct SettingsArgs {
    /// JSON, YAML or TOML file with settings.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// One setting by its dotted name: `--set retry.jitter=0.2`, `--set ordered=true`. May be
    /// repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl SettingsArgs {
    /// Merges the file, the `named` options and `--set` into one object. Later ones override
    /// earlier ones.
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

/// Parses a text as JSON. A text that is not JSON becomes a string.
pub fn literal(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// Returns the names as a JSON array of strings.
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
            CliError::Usage(format!("{key}: the part before `{part}` is not an object"))
        })?;
        place = members.entry(part).or_insert(Value::Null);
    }
    *place = value;
    Ok(())
}

/// Reads a file as JSON. `.toml`, `.yaml` and `.yml` are parsed as such, everything else as JSON.
pub fn read_document(path: &Path) -> Result<Value, CliError> {
    let text = std::fs::read_to_string(path).map_err(CliError::reading(path))?;
    parse_document(path, &text)
}

/// Like [`read_document`], for a text in memory.
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

/// Returns the fault of a TOML text and its place. The parser's own message quotes the whole line,
/// which may hold a secret; the messages for JSON and YAML do not quote values.
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
