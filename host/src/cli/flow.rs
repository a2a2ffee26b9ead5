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

/// What can be done with flows.
#[derive(Debug, Subcommand)]
pub enum FlowCommand {
    /// List them.
    List(ListArgs),
    /// Show one.
    Show(OneArgs),
    /// Make one.
    Create(CreateArgs),
    /// Change settings of one; what is not named stays.
    Update(UpdateArgs),
    /// Delete one.
    Delete(DeleteArgs),
    /// Run one on an event and show what each module does; nothing is stored, nothing is sent.
    Run(run::FlowRunArgs),
    /// Compare what other versions of modules make of the last stored events; nothing is sent.
    Backtest(backtest::FlowBacktestArgs),
}

/// A new flow.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Its name.
    name: Option<String>,
    /// Event types it takes: `invoice.paid,lead.*`; all where there are none.
    #[arg(long, value_delimiter = ',', value_name = "TYPES")]
    events: Vec<String>,
    /// Which of those it takes, in CEL: `data.status == "2"`.
    #[arg(long = "where", value_name = "EXPRESSION")]
    condition: Option<String>,
    /// Sources it takes events of; all where there are none.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    sources: Vec<String>,
    /// Modules its events pass, in order; their configuration goes into a file for --from.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    modules: Vec<String>,
    /// Endpoints its events go to.
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

async fn create_flow(args: CreateArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
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
