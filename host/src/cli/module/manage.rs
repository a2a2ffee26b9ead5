//! Manages modules in the server: upload, list, activate.

use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};

use super::build;
use crate::cli::client::{CallBody, QueryParameters, RemoteServer, ServerClient, escape_path};
use crate::cli::resource::ListArgs;
use crate::cli::screen::ListColumn;
use crate::cli::{CliError, CommandScreen};

const COLUMNS: &[ListColumn] = &[
    ("name", &["/name"]),
    ("version", &["/version"]),
    ("active", &["/active"]),
    ("trial", &["/trial/state"]),
    ("share", &["/trial/share"]),
    ("roles", &["/exports", "/report/exports", "/roles"]),
    ("bytes", &["/size", "/report/size"]),
    ("p99 ms", &["/figures/p99_ms"]),
    ("uploaded", &["/created_at"]),
];

/// Arguments of `waybill module push`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// Component to upload [default: build the project in this directory].
    file: Option<PathBuf>,
    /// Name of the module [default: the name of the file].
    #[arg(long)]
    name: Option<String>,
    /// Make it the active version.
    #[arg(long)]
    activate: bool,
    /// Approve a capability that it requests, such as `http:api.example.com`; `http` means all its
    /// hosts.
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    approve: Vec<String>,
    /// Activate it even if its sample cases fail; the audit shows that.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    remote: RemoteServer,
}

/// Arguments of `waybill module show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Name of the module.
    name: String,
    #[command(flatten)]
    remote: RemoteServer,
}

/// Arguments of `waybill module activate`.
#[derive(Debug, Args)]
pub struct ActivateArgs {
    /// Name of the module.
    name: String,
    /// Version to activate.
    version: u32,
    /// Approve a capability that it requests, such as `http:api.example.com`; `http` means all its
    /// hosts.
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    approve: Vec<String>,
    /// Activate it even if its sample cases fail; the audit shows that.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    remote: RemoteServer,
}

pub async fn push_module(args: PushArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    let client = args.remote.connect(screen)?;
    let file = match args.file {
        Some(file) => file,
        None => build::component(&PathBuf::from(".")).await?,
    };
    let wasm = Bytes::from(std::fs::read(&file).map_err(CliError::reading(&file))?);
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().replace('_', "-");
    let name = args.name.unwrap_or(stem);
    let (activate, force) = (args.activate, args.force);
    let wanted = ModuleUpload { version: None, activate, approve: &args.approve, force };
    let answer = upload_module(&client, &name, wasm, wanted).await?;
    let version = answer.get("version").and_then(Value::as_u64).unwrap_or_default();
    let is_active = answer.get("active").and_then(Value::as_bool).unwrap_or(args.activate);
    let said = if is_active {
        format!("{name} version {version} uploaded; it runs from now on")
    } else {
        format!("{name} version {version} uploaded\nnext: waybill module activate {name} {version}")
    };
    screen.print_outcome(with_warning(said, &answer), &answer)?;
    if args.activate && !is_active {
        let failed = format!("version {version} of {name} is not activated: its sample cases fail");
        return Err(CliError::with_next(failed, "correct it, or activate it with --force"));
    }
    Ok(())
}

/// Returns the result with the server's warnings.
pub fn with_warning(said: String, answer: &Value) -> String {
    match answer.get("warning").and_then(Value::as_str) {
        Some(warning) => format!("{said}\nwarning: {warning}"),
        None => said,
    }
}

/// The parameters of an upload.
#[derive(Debug, Clone, Copy, Default)]
pub struct ModuleUpload<'a> {
    /// Version number. `None` means the next one.
    pub version: Option<u64>,
    pub activate: bool,
    /// The requested capabilities that are approved.
    pub approve: &'a [String],
    /// Whether to activate it even if its sample cases fail.
    pub force: bool,
}

/// Uploads a component as a version of a module.
pub async fn upload_module(
    client: &ServerClient,
    name: &str,
    wasm: Bytes,
    upload: ModuleUpload<'_>,
) -> Result<Value, CliError> {
    let ModuleUpload { version, activate, approve, force } = upload;
    let version = version.map(|number| format!("&version={number}")).unwrap_or_default();
    let approve = escape_path(&approve.join(","));
    let approve = if approve.is_empty() { approve } else { format!("&approve={approve}") };
    let force = if force { "&force=true" } else { "" };
    let name = escape_path(name);
    let path = format!("/modules/{name}?activate={activate}{version}{approve}{force}");
    client.call_api(Method::POST, &path, CallBody::Wasm(wasm)).await
}

/// Returns every version of every module as one object each.
pub async fn versions(client: &ServerClient) -> Result<Vec<Value>, CliError> {
    let modules = client.list_pages("/modules", &QueryParameters::default(), usize::MAX).await?;
    Ok(modules.into_iter().flat_map(flat).collect())
}

/// Splits a module into one object for each of its versions. A single version is returned
/// unchanged.
fn flat(mut module: Value) -> Vec<Value> {
    let Some(Value::Array(versions)) = module.get_mut("versions").map(Value::take) else {
        return vec![module];
    };
    let name = module.get("name").cloned().unwrap_or_default();
    let named = |version: Value| {
        let mut members = Map::from_iter([("name".to_owned(), name.clone())]);
        members.extend(version.as_object().cloned().unwrap_or_default());
        Value::Object(members)
    };
    versions.into_iter().map(named).collect()
}

pub async fn list_modules(args: ListArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    let client = args.remote.connect(screen)?;
    let mut found = versions(&client).await?;
    found.truncate(args.limit);
    let none = "no modules yet; write one with `waybill module new NAME`";
    Ok(screen.print_list(COLUMNS, &found, none)?)
}

pub async fn show_module(args: ShowArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    let client = args.remote.connect(screen)?;
    let path = format!("/modules/{}", escape_path(&args.name));
    let module = client.call_api(Method::GET, &path, CallBody::None).await?;
    Ok(screen.print_object(&module)?)
}

pub async fn activate_module(
    args: ActivateArgs,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let client = args.remote.connect(screen)?;
    let (name, version) = (&args.name, args.version);
    let path = format!("/modules/{}/versions/{version}/activate", escape_path(name));
    let body = CallBody::Json(json!({ "approve": args.approve, "force": args.force }));
    let answer = client.call_api(Method::POST, &path, body).await?;
    let said = format!("{name} version {version} runs from now on");
    Ok(screen.print_outcome(with_warning(said, &answer), &answer)?)
}
