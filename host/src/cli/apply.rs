//! `waybill apply` and `waybill export`: the server's configuration as one file.
//!
//! The server computes and makes the changes in one transaction (`PUT /api/v1/config`). The file
//! may name its modules by `path`. The document contains these modules by their SHA-256, and they
//! are uploaded if the server does not have the same bytes yet, after the server has found no fault
//! in the document.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::client::{CallBody, RemoteServer, ServerClient, escape_path};
use super::input::read_document;
use super::module::{ModuleUpload, upload_module, versions};
use super::variables::{escape_variables, fill_variables};
use super::{CliError, CommandScreen};
use crate::crypto::sha256;

/// Arguments of `waybill apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// YAML, TOML or JSON with `sources`, `endpoints`, `flows`, `modules` and `tokens`. `${NAME}`
    /// in a text is the value of an environment variable.
    file: PathBuf,
    /// Print the changes without making them.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    passphrase: PassphraseArg,
    #[command(flatten)]
    remote: RemoteServer,
}

/// Arguments of `waybill export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Format of the file.
    #[arg(long, value_enum, default_value_t = ConfigurationFormat::Yaml)]
    format: ConfigurationFormat,
    /// Write the modules' components into this folder and name them by their path, for a server
    /// that does not have them. Without this option they are named by their digest.
    #[arg(long, value_name = "FOLDER")]
    modules: Option<PathBuf>,
    /// Include the secrets, encrypted with the passphrase in `WAYBILL_PASSPHRASE`.
    #[arg(long, requires = "passphrase")]
    secrets: bool,
    #[command(flatten)]
    passphrase: PassphraseArg,
    #[command(flatten)]
    remote: RemoteServer,
}

/// The passphrase. It is taken from the environment, so that the shell's history does not hold it.
#[derive(Debug, Args)]
struct PassphraseArg {
    /// The passphrase.
    #[arg(long, env = "WAYBILL_PASSPHRASE", hide = true, hide_env_values = true)]
    passphrase: Option<SecretString>,
}

/// Formats of a configuration file.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ConfigurationFormat {
    /// YAML 1.2.
    Yaml,
    /// TOML 1.0.
    Toml,
    /// JSON.
    Json,
}

pub async fn apply_file(args: ApplyArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    let mut document = read_document(&args.file)?;
    use_environment(&mut document, &args.file)?;
    let folder = args.file.parent().unwrap_or(Path::new("."));
    let client = args.remote.connect(screen)?;
    open_secrets(&mut document, args.passphrase.passphrase)?;
    let components = read_components(&mut document, folder)?;
    let missing = missing_components(components, &document, &client).await?;
    let mut answer = None;
    if args.dry_run || !missing.is_empty() {
        // This comes before the uploads, so that a refused document leaves nothing behind.
        answer = Some(put_document(&client, document.clone(), true).await?);
    }
    let uploads: Vec<String> = missing.iter().map(|component| component.name.clone()).collect();
    if !args.dry_run {
        for LocalComponent { name, version, wasm, .. } in missing {
            upload_module(&client, &name, wasm, ModuleUpload { version, ..Default::default() })
                .await?;
        }
        answer = Some(put_document(&client, document, false).await?);
    }
    let mut answer = answer.unwrap_or_default();
    if !screen.is_human() {
        if let Some(members) = answer.as_object_mut() {
            members.insert("uploaded".to_owned(), json!(uploads));
        }
        return Ok(screen.print_json(&answer)?);
    }
    for name in &uploads {
        let verb = if args.dry_run { "would be uploaded" } else { "uploaded" };
        screen.print_line(format!("module {name} {verb}"))?;
    }
    let changes = answer.get("changes").and_then(Value::as_array).cloned().unwrap_or_default();
    print_changes(&changes, args.dry_run, screen)
}

/// Fills in the variables of the file. All that are missing are named at once.
fn use_environment(document: &mut Value, file: &Path) -> Result<(), CliError> {
    let faults = fill_variables(document, &|name| std::env::var(name).ok());
    if faults.is_empty() {
        return Ok(());
    }
    let lines = faults.iter().map(|fault| format!("{}: {fault}", file.display()));
    Err(CliError::failed(lines.collect::<Vec<_>>().join("\n")))
}

/// What applying the document changes, or in a dry run would change.
async fn put_document(
    client: &ServerClient,
    document: Value,
    dry_run: bool,
) -> Result<Value, CliError> {
    let path = format!("/config?dry_run={dry_run}");
    client.call_api(Method::PUT, &path, CallBody::Json(document)).await
}

/// Adds the passphrase to a document that contains secrets.
fn open_secrets(document: &mut Value, passphrase: Option<SecretString>) -> Result<(), CliError> {
    let Some(members) = document.as_object_mut().filter(|d| d.contains_key("secrets")) else {
        return Ok(());
    };
    if members.contains_key("passphrase") {
        return Ok(());
    }
    let passphrase = passphrase.ok_or_else(|| {
        CliError::Usage(
            "the file contains secrets: set WAYBILL_PASSPHRASE to the passphrase of their export"
                .to_owned(),
        )
    })?;
    members.insert("passphrase".to_owned(), Value::from(passphrase.expose_secret()));
    Ok(())
}

/// A component that the file names by its path.
struct LocalComponent {
    name: String,
    version: Option<u64>,
    is_active: bool,
    digest: String,
    wasm: Bytes,
}

/// Reads the components of the document's modules and replaces every `path` by the SHA-256.
fn read_components(document: &mut Value, folder: &Path) -> Result<Vec<LocalComponent>, CliError> {
    let mut found = Vec::new();
    let modules = document.get_mut("modules").and_then(Value::as_array_mut);
    for members in modules.into_iter().flatten().filter_map(Value::as_object_mut) {
        let Some(path) = members.remove("path") else { continue };
        let name = members.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let version = members.get("version").and_then(Value::as_u64);
        let is_active = members.get("active").and_then(Value::as_bool) != Some(false);
        let path = component_path(folder, Path::new(path.as_str().unwrap_or_default()));
        let wasm = Bytes::from(std::fs::read(&path).map_err(CliError::reading(&path))?);
        let digest = hex::encode(sha256::sha256_digest(&[&wasm]));
        members.insert("sha256".to_owned(), Value::String(digest.clone()));
        found.push(LocalComponent { name, version, is_active, digest, wasm });
    }
    Ok(found)
}

/// Returns the path relative to the document's folder. `export_config` names its files relative to
/// the working directory, so a file is looked for there next.
fn component_path(folder: &Path, path: &Path) -> PathBuf {
    let beside = folder.join(path);
    if !beside.exists() && path.exists() { path.to_owned() } else { beside }
}

/// Returns the components that the server does not have yet, under the version that the file asks
/// for.
async fn missing_components(
    components: Vec<LocalComponent>,
    document: &Value,
    client: &ServerClient,
) -> Result<Vec<LocalComponent>, CliError> {
    if components.is_empty() {
        return Ok(components);
    }
    let known = versions(client).await?;
    let text = |version: &Value, key: &str| {
        version.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let is_there = |component: &LocalComponent| {
        // A flow that pins a version runs that number, even if another version has the same bytes.
        let number = component
            .version
            .filter(|number| !component.is_active || is_pinned(document, &component.name, *number));
        known.iter().any(|version| {
            text(version, "name") == component.name
                && text(version, "sha256") == component.digest
                && number.is_none_or(|number| version.get("version") == Some(&number.into()))
        })
    };
    Ok(components.into_iter().filter(|component| !is_there(component)).collect())
}

/// Returns whether a flow or an endpoint of the document names the version by its number.
fn is_pinned(document: &Value, name: &str, number: u64) -> bool {
    let flows = document.get("flows").and_then(Value::as_array);
    let modules = flows.into_iter().flatten().filter_map(|flow| flow.get("modules")?.as_array());
    let is_pin = |module: &Value, key: &str| {
        module.get(key).and_then(Value::as_str) == Some(name)
            && module.get("version") == Some(&number.into())
    };
    let endpoints = document.get("endpoints").and_then(Value::as_array);
    let mut settings = endpoints.into_iter().flatten().filter_map(|given| given.get("settings"));
    modules.flatten().any(|module| is_pin(module, "name"))
        || settings.any(|settings| is_pin(settings, "module"))
}

fn print_changes(
    changes: &[Value],
    dry_run: bool,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
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
        screen.print_table(&["action", "kind", "name", "fields"], rows)?;
    }
    let unchanged = counts.get("unchanged").copied().unwrap_or_default();
    for change in changes {
        if let Some(secret) = change.get("secret").and_then(Value::as_str) {
            screen.print_line(format!(
                "secret of {}, shown only now: {secret}",
                text(change, "name")
            ))?;
        }
    }
    for change in changes {
        if let Some(warning) = change.get("warning").and_then(Value::as_str) {
            screen.print_line(format!("module {}: {warning}", text(change, "name")))?;
        }
    }
    let said = match (count, dry_run) {
        (0, _) => format!("nothing to change: {unchanged} as they should be"),
        (n, true) => format!("{n} would change, {unchanged} as they should be; nothing was done"),
        (n, false) => format!("{n} changed, {unchanged} were as they should be"),
    };
    Ok(screen.print_line(said)?)
}

pub async fn export_config(
    args: ExportArgs,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let client = args.remote.connect(screen)?;
    let passphrase = args.passphrase.passphrase.filter(|_| args.secrets);
    let mut document = match passphrase {
        None => client.call_api(Method::GET, "/config", CallBody::None).await?,
        Some(passphrase) => {
            let body = json!({"passphrase": passphrase.expose_secret()});
            client.call_api(Method::POST, "/config/export", CallBody::Json(body)).await?
        }
    };
    without_nulls(&mut document);
    if let Some(folder) = &args.modules {
        download_modules(&mut document, folder, &client).await?;
    }
    escape_variables(&mut document);
    let text = match args.format {
        ConfigurationFormat::Yaml => {
            serde_norway::to_string(&document).map_err(|e| CliError::failed(e.to_string()))?
        }
        ConfigurationFormat::Toml => {
            toml::to_string(&document).map_err(|e| CliError::failed(e.to_string()))?
        }
        ConfigurationFormat::Json => return Ok(screen.print_json(&document)?),
    };
    Ok(screen.print_line(text.trim_end())?)
}

/// Writes the document's components into a folder and names them by their path.
async fn download_modules(
    document: &mut Value,
    folder: &Path,
    client: &ServerClient,
) -> Result<(), CliError> {
    std::fs::create_dir_all(folder).map_err(CliError::writing(folder))?;
    let modules = document.get_mut("modules").and_then(Value::as_array_mut);
    for members in modules.into_iter().flatten().filter_map(Value::as_object_mut) {
        let name = members.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let version = members.get("version").and_then(Value::as_u64).unwrap_or_default();
        let path = format!("/modules/{}/versions/{version}/component", escape_path(&name));
        let wasm = client.download_bytes(Method::GET, &path, CallBody::None).await?;
        let file = folder.join(format!("{name}-{version}.wasm"));
        std::fs::write(&file, &wasm).map_err(CliError::writing(&file))?;
        members.insert("path".to_owned(), Value::from(file.display().to_string()));
    }
    Ok(())
}

/// Removes nulls, because TOML has no null, and a null means the same as an absent value.
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
