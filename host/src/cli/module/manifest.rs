//! `waybill module inspect` and `embed`: the manifest of a component.

use std::path::{Path, PathBuf};

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::run::local_limits;
use crate::cli::client::{CallBody, RemoteServer, escape_path};
use crate::cli::input::read_document;
use crate::cli::{CliError, CommandScreen};
use crate::error_chain::error_chain;
use crate::wasm::{ModuleReport, embed_manifest, inspect_component};

/// Manifest files that `module build` looks for next to `Cargo.toml`, in this order.
const FILES: [&str; 2] = ["waybill.manifest.toml", "waybill.manifest.json"];

/// Arguments of `waybill module embed`.
#[derive(Debug, Args)]
pub struct EmbedArgs {
    /// Component of any toolchain.
    file: PathBuf,
    /// Manifest: TOML, YAML or JSON.
    #[arg(long, value_name = "FILE")]
    manifest: PathBuf,
    /// File to write the component with its manifest to [default: the component itself].
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print JSON on a terminal too.
    #[arg(long)]
    json: bool,
}

/// Arguments of `waybill module inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// File of a component, or name of a module on the server.
    module: String,
    /// Version on the server [default: the active one, else the newest].
    #[arg(long)]
    version: Option<u32>,
    #[command(flatten)]
    remote: RemoteServer,
}

pub fn embed(args: &EmbedArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    screen.force_json(args.json);
    let output = args.output.as_deref().unwrap_or(&args.file);
    let report = embed_file(&args.file, &args.manifest, output)?;
    let said =
        format!("{} now contains the manifest {}", output.display(), args.manifest.display());
    Ok(screen.print_outcome(said, &report_json(&report)?)?)
}

/// Embeds the manifest next to a project's `Cargo.toml` into its component, if there is one.
pub fn embed_beside(project: &Path, component: &Path) -> Result<(), CliError> {
    let beside = FILES.iter().map(|file| project.join(file)).find(|file| file.is_file());
    let Some(manifest) = beside else { return Ok(()) };
    embed_file(component, &manifest, component).map(drop)
}

fn embed_file(file: &Path, manifest: &Path, output: &Path) -> Result<ModuleReport, CliError> {
    let wasm = std::fs::read(file).map_err(CliError::reading(file))?;
    let text = read_document(manifest)?.to_string();
    let failed = |place: &Path, error: &dyn std::error::Error| {
        CliError::failed(format!("{}: {}", place.display(), error_chain(error)))
    };
    let embedded =
        embed_manifest(&wasm, text.as_bytes()).map_err(|error| failed(manifest, &error))?;
    // Checked before writing, because a manifest that does not fit the component would be refused
    // at the upload.
    let report =
        inspect_component(&embedded, &local_limits()).map_err(|error| failed(file, &error))?;
    std::fs::write(output, &embedded).map_err(CliError::writing(output))?;
    Ok(report)
}

fn report_json(report: &ModuleReport) -> Result<Value, CliError> {
    serde_json::to_value(report).map_err(|error| CliError::failed(error.to_string()))
}

pub async fn inspect(args: InspectArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    let file = Path::new(&args.module);
    let is_file = file.is_file();
    if is_file || file.extension().is_some_and(|end| end == "wasm") {
        screen.force_json(args.remote.json);
        let wasm = std::fs::read(file).map_err(CliError::reading(file))?;
        let report = inspect_component(&wasm, &local_limits());
        let report = report.map_err(|error| {
            CliError::failed(format!("{}: {}", file.display(), error_chain(&error)))
        })?;
        return Ok(screen.print_object(&shown(&report_json(&report)?))?);
    }
    let client = args.remote.connect(screen)?;
    let path = format!("/modules/{}", escape_path(&args.module));
    let versions = client.call_api(Method::GET, &path, CallBody::None).await?;
    let versions = versions.as_array().map(Vec::as_slice).unwrap_or_default();
    let number = |version: &Value| version.get("version").and_then(Value::as_u64);
    let is_active = |version: &&Value| version.get("active") == Some(&Value::Bool(true));
    let found = match args.version {
        Some(wanted) => versions.iter().find(|version| number(version) == Some(wanted.into())),
        None => versions
            .iter()
            .find(is_active)
            .or_else(|| versions.iter().max_by_key(|version| number(version))),
    };
    let found = found.ok_or_else(|| {
        let version = args.version.unwrap_or_default();
        CliError::failed(format!("module `{}` has no version {version}", args.module))
    })?;
    Ok(screen.print_object(&shown(found))?)
}

/// Returns a version for display: the members of its report next to those of the server.
fn shown(version: &Value) -> Value {
    let mut all = version.as_object().cloned().unwrap_or_default();
    let report = match all.shift_remove("report") {
        Some(Value::Object(report)) => report,
        Some(_) | None => serde_json::Map::new(),
    };
    for (key, value) in report {
        all.entry(key).or_insert(value);
    }
    all.entry("manifest").or_insert_with(|| json!("none"));
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_shown_beside_what_the_server_says() {
        let version = json!({"name": "m", "granted": ["state"],
            "report": {"size": 7, "manifest": {"name": "m"}}});
        let all = shown(&version);
        assert_eq!(
            all,
            json!({"name": "m", "granted": ["state"], "size": 7, "manifest": {"name": "m"}})
        );
        assert_eq!(shown(&json!({"report": {}})), json!({"manifest": "none"}));
    }
}
