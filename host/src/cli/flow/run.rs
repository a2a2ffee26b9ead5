//! `waybill flow run`: runs one event through a flow of the server. Nothing is stored or sent.

use std::path::PathBuf;

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::report::describe_run;
use crate::cli::client::{CallBody, RemoteServer, ServerClient, escape_path};
use crate::cli::input::read_document;
use crate::cli::{CliError, CommandScreen};

/// Arguments of `waybill flow run`.
#[derive(Debug, Args)]
pub struct FlowRunArgs {
    /// Name or id of the flow.
    name: String,
    /// Id of a stored event.
    #[arg(long, value_name = "ID", conflicts_with = "data", required_unless_present = "data")]
    event: Option<String>,
    /// JSON or YAML file with an event in the form of `POST /api/v1/events`.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    #[command(flatten)]
    versions: VersionArgs,
    #[command(flatten)]
    remote: RemoteServer,
}

/// Versions of modules to try.
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// Version to run instead of the flow's own: `--module hot-leads=3`. May be repeated.
    #[arg(long = "module", value_name = "NAME=VERSION")]
    modules: Vec<String>,
}

impl VersionArgs {
    /// Returns the versions in the form of the server.
    pub fn read(&self) -> Result<Value, CliError> {
        let read = |given: &String| {
            let pair = given.split_once('=');
            let pair = pair.and_then(|(name, number)| Some((name, number.parse::<u32>().ok()?)));
            let (name, version) = pair.ok_or_else(|| {
                CliError::Usage(format!(
                    "--module {given}: write NAME=VERSION, such as hot-leads=3"
                ))
            })?;
            Ok(json!({"name": name, "version": version}))
        };
        self.modules.iter().map(read).collect()
    }

    /// Returns whether no version is named.
    pub const fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }
}

/// Runs a flow of the server on an event.
pub async fn call_dry_run(
    client: &ServerClient,
    flow: &str,
    request: Value,
) -> Result<Value, CliError> {
    let path = format!("/flows/{}/run", escape_path(flow));
    client.call_api(Method::POST, &path, CallBody::Json(request)).await
}

pub async fn run_dry(args: FlowRunArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    let modules = args.versions.read()?;
    let request = match (&args.event, &args.data) {
        (Some(id), _) => json!({"event_id": id, "modules": modules}),
        (None, Some(file)) => json!({"event": read_document(file)?, "modules": modules}),
        (None, None) => return Err(CliError::Usage("give --event ID or --data FILE".to_owned())),
    };
    let client = args.remote.connect(screen)?;
    let answer = call_dry_run(&client, &args.name, request).await?;
    if screen.is_human() {
        for line in describe_run(&answer) {
            screen.print_line(line)?;
        }
    } else {
        screen.print_json(&answer)?;
    }
    match answer.pointer("/failure/detail").and_then(Value::as_str) {
        Some(detail) => Err(CliError::failed(detail)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_names_and_numbers() {
        let read = |given: &[&str]| {
            let modules = given.iter().map(|text| (*text).to_owned()).collect();
            VersionArgs { modules }.read()
        };
        let expected = json!([{"name": "a", "version": 3}, {"name": "b", "version": 1}]);
        assert_eq!(read(&["a=3", "b=1"]).unwrap(), expected);
        for wrong in ["a", "a=", "a=x", "a=-1"] {
            assert!(read(&[wrong]).unwrap_err().to_string().contains("NAME=VERSION"), "{wrong}");
        }
    }
}
