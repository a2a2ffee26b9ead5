//! `waybill apply` and `waybill export`: the server's configuration as one file.
//!
//! The server works out and makes the changes in one go (`PUT /api/v1/config`). The file's modules may be given by `path`; those are
//! uploaded first, where the server does not have those very bytes yet, and stand in the document by their SHA-256.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use super::client::{Body, Client, Remote};
use super::input::read_document;
use super::module::{upload, versions};
use super::{Error, Screen};
use crate::sha256;

/// `waybill apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// YAML, TOML or JSON with `sources`, `endpoints`, `flows`, `modules` and `tokens`.
    file: PathBuf,
    /// Say what would change and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    remote: Remote,
}

/// `waybill export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// In which form.
    #[arg(long, value_enum, default_value_t = Format::Yaml)]
    format: Format,
    #[command(flatten)]
    remote: Remote,
}

/// Forms of a configuration file.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Format {
    /// YAML 1.2.
    Yaml,
    /// TOML 1.0.
    Toml,
    /// JSON.
    Json,
}

pub(super) async fn apply(args: ApplyArgs, screen: &mut Screen<'_>) -> Result<(), Error> {
    let mut document = read_document(&args.file)?;
    let folder = args.file.parent().unwrap_or(Path::new("."));
    let client = args.remote.connect(screen)?;
    let uploads = modules(&mut document, folder, &client, args.dry_run).await?;
    let path = format!("/config?dry_run={}", args.dry_run);
    let mut answer = client.call(Method::PUT, &path, Body::Json(document)).await?;
    if !screen.is_human() {
        if let Some(members) = answer.as_object_mut() {
            members.insert("uploaded".to_owned(), json!(uploads));
        }
        return Ok(screen.json(&answer)?);
    }
    for name in &uploads {
        let verb = if args.dry_run { "would be uploaded" } else { "uploaded" };
        screen.line(format!("module {name} {verb}"))?;
    }
    let changes = answer.get("changes").and_then(Value::as_array).cloned().unwrap_or_default();
    report(&changes, args.dry_run, screen)
}

/// Puts a SHA-256 in place of every module's `path` and uploads what the server does not have. Gives the names of the uploaded.
async fn modules(
    document: &mut Value,
    folder: &Path,
    client: &Client,
    dry_run: bool,
) -> Result<Vec<String>, Error> {
    let Some(modules) = document.get_mut("modules").and_then(Value::as_array_mut) else {
        return Ok(Vec::new());
    };
    let mut uploaded = Vec::new();
    let mut known: Option<Vec<Value>> = None;
    for module in modules {
        let Some(members) = module.as_object_mut() else { continue };
        let Some(path) = members.remove("path") else { continue };
        let name = members.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let path = folder.join(path.as_str().unwrap_or_default());
        let wasm = Bytes::from(std::fs::read(&path).map_err(Error::reading(&path))?);
        let digest = hex::encode(sha256::digest(&[&wasm]));
        members.insert("sha256".to_owned(), Value::String(digest.clone()));
        let known = match &mut known {
            Some(known) => known,
            none => none.insert(versions(client).await?),
        };
        let same = |version: &Value| {
            version.get("name") == Some(&Value::String(name.clone()))
                && version.get("sha256").and_then(Value::as_str) == Some(&digest)
        };
        if !known.iter().any(same) {
            if !dry_run {
                upload(client, &name, wasm, false).await?;
            }
            uploaded.push(name);
        }
    }
    Ok(uploaded)
}

fn report(changes: &[Value], dry_run: bool, screen: &mut Screen<'_>) -> Result<(), Error> {
    let text = |change: &Value, name: &str| {
        change.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut rows = Vec::new();
    for change in changes {
        let action = text(change, "action");
        *counts.entry(action.clone()).or_default() += 1;
        if action != "unchanged" {
            let fields =
                change.get("fields").and_then(Value::as_array).cloned().unwrap_or_default();
            let fields: Vec<&str> = fields.iter().filter_map(Value::as_str).collect();
            rows.push(vec![action, text(change, "kind"), text(change, "name"), fields.join(", ")]);
        }
    }
    let count = rows.len();
    if count > 0 {
        screen.table(&["action", "kind", "name", "fields"], rows)?;
    }
    let unchanged = counts.get("unchanged").copied().unwrap_or_default();
    for change in changes {
        if let Some(secret) = change.get("secret").and_then(Value::as_str) {
            screen.line(format!("secret of {}, shown only now: {secret}", text(change, "name")))?;
        }
    }
    let said = match (count, dry_run) {
        (0, _) => format!("nothing to change: {unchanged} as they should be"),
        (n, true) => format!("{n} would change, {unchanged} as they should be; nothing was done"),
        (n, false) => format!("{n} changed, {unchanged} were as they should be"),
    };
    Ok(screen.line(said)?)
}

pub(super) async fn export(args: ExportArgs, screen: &mut Screen<'_>) -> Result<(), Error> {
    let client = args.remote.connect(screen)?;
    let mut document = client.call(Method::GET, "/config", Body::None).await?;
    without_nulls(&mut document);
    let text = match args.format {
        Format::Yaml => {
            serde_norway::to_string(&document).map_err(|e| Error::failed(e.to_string()))?
        }
        Format::Toml => toml::to_string(&document).map_err(|e| Error::failed(e.to_string()))?,
        Format::Json => return Ok(screen.json(&document)?),
    };
    Ok(screen.line(text.trim_end())?)
}

/// TOML knows no null, and a null says no more than nothing.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(without_nulls);
        }
        Value::Array(values) => values.iter_mut().for_each(without_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
