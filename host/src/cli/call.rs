//! `waybill call …`: runs an operation of an endpoint of kind `api`.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::client::{CallBody, RemoteServer, escape_path};
use super::endpoint::ENDPOINT;
use super::{CliError, CommandScreen};

/// Largest size of the data, which equals the default limit of the server.
const MAX_DATA: u64 = 1 << 20;

/// Arguments of `waybill call`.
#[derive(Debug, Args)]
pub struct CallArgs {
    /// Name or id of the endpoint.
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    /// Operation, such as `lead_create`; `waybill endpoint operations` lists them.
    #[arg(value_name = "OPERATION")]
    operation: String,
    /// JSON that the operation receives as `data`: a file, or - for standard input.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Record id that the operation receives as `id` [default: the member `id` of the data].
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Print the request without its secrets and send nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    remote: RemoteServer,
}

pub async fn run_call(args: CallArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    let data = args.data.as_deref().map(read_data).transpose()?;
    let client = args.remote.connect(screen)?;
    let mut body = json!({ "dry_run": args.dry_run });
    if let Some(members) = body.as_object_mut() {
        members.extend(data.map(|data| ("data".to_owned(), data)));
        members.extend(args.id.map(|id| ("id".to_owned(), Value::from(id))));
    }
    let verb = format!("operations/{}", escape_path(&args.operation));
    let outcome = ENDPOINT.act(&client, &args.endpoint, &verb, CallBody::Json(body)).await?;
    if args.dry_run {
        return Ok(screen.print_json(outcome.get("request").unwrap_or(&outcome))?);
    }
    screen.print_object(&outcome)?;
    let text = |name: &str| outcome.get(name).and_then(Value::as_str);
    let Some(class) = text("error_class") else { return Ok(()) };
    let detail = text("error").map(|error| format!(": {error}")).unwrap_or_default();
    Err(CliError::failed(format!("the operation failed, {class}{detail}")))
}

/// Reads JSON from a file or from standard input.
fn read_data(path: &Path) -> Result<Value, CliError> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_DATA + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_DATA + 1).read_to_string(&mut text))
    };
    let read = read.map_err(CliError::reading(path))?;
    if read as u64 > MAX_DATA {
        return Err(CliError::failed(format!("{}: more than 1 MiB", path.display())));
    }
    serde_json::from_str(&text)
        .map_err(|error| CliError::failed(format!("{}: {error}", path.display())))
}
