//! `waybill flow …`

pub mod backtest;
pub mod report;
pub mod run;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::RemoteServer;
use super::input::{SettingsArgs, names};
use super::resource::{DeleteArgs, ListArgs, OneArgs, ResourceKind, UpdateArgs};
use super::{CliError, CommandScreen};

const FLOW: ResourceKind = ResourceKind {
    word: "flow",
    path: "/flows",
    prefix: "flw_",
    columns: &[
        ("name", &["/name"]),
        ("sources", &["/sources"]),
        ("events", &["/events"]),
        ("modules", &["/modules"]),
        ("endpoints", &["/endpoints"]),
        ("enabled", &["/enabled"]),
        ("id", &["/id"]),
    ],
};

/// The subcommands of `waybill flow`.
#[derive(Debug, Subcommand)]
pub enum FlowCommand {
    /// List flows.
    List(ListArgs),
    /// Show a flow.
    Show(OneArgs),
    /// Create a flow.
    Create(CreateFlowArgs),
    /// Change settings of a flow. Other settings stay as they are.
    Update(UpdateArgs),
    /// Delete a flow.
    Delete(DeleteArgs),
    /// Run a flow on an event and show what each module does. Nothing is stored or sent.
    Run(run::FlowRunArgs),
    /// Compare the results of other module versions on the last stored events. Nothing is sent.
    Backtest(backtest::FlowBacktestArgs),
}

/// Arguments of `waybill flow create`.
#[derive(Debug, Args)]
pub struct CreateFlowArgs {
    /// Name of the flow.
    name: Option<String>,
    /// Event types that it accepts: `invoice.paid,lead.*` [default: all].
    #[arg(long, value_delimiter = ',', value_name = "TYPES")]
    events: Vec<String>,
    /// Condition on these events, in CEL: `data.status == "2"`.
    #[arg(long = "where", value_name = "EXPRESSION")]
    condition: Option<String>,
    /// Sources from which it accepts events [default: all].
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    sources: Vec<String>,
    /// Modules for its events, in order. Their configuration must be in a file for --from.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    modules: Vec<String>,
    /// Endpoints to which its events go.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    endpoints: Vec<String>,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    remote: RemoteServer,
}

pub async fn run_flow(
    command: FlowCommand,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    match command {
        FlowCommand::List(args) => FLOW.list(args, screen).await,
        FlowCommand::Show(args) => FLOW.show(args, screen).await,
        FlowCommand::Create(args) => create_flow(args, screen).await,
        FlowCommand::Update(args) => FLOW.update(args, screen).await,
        FlowCommand::Delete(args) => FLOW.delete(args, screen).await,
        FlowCommand::Run(args) => run::run_dry(args, screen).await,
        FlowCommand::Backtest(args) => backtest::run_backtest(args, screen).await,
    }
}

async fn create_flow(args: CreateFlowArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    let modules: Vec<Value> = args.modules.iter().map(|name| json!({ "name": name })).collect();
    let settings = args.settings.object(vec![
        ("name", args.name.map(Value::String)),
        ("events", names(&args.events)),
        ("where", args.condition.map(Value::String)),
        ("sources", names(&args.sources)),
        ("modules", (!modules.is_empty()).then_some(Value::Array(modules))),
        ("endpoints", names(&args.endpoints)),
    ])?;
    FLOW.create(args.remote, settings, screen).await
}
