//! The command line of `waybill`.
//!
//! `serve`, `demo`, `doctor` and `backup` need things that only the binary has and are left to it.
//! Every other command is a client: it writes to a [`CommandScreen`] and fails with a [`CliError`],
//! which states the fault and the next step. Only the parser, which the binary calls, reads the
//! environment.
//!
//! Exit status: 0 done, 1 failed, 2 bad usage ([`CliError::exit_code`]; the parser's own errors are
//! 2 as well).

pub mod alert;
pub mod apply;
pub mod audit;
pub mod backup;
pub mod call;
pub mod channel;
pub mod client;
pub mod completeness;
pub mod completions;
pub mod dead_letter;
pub mod delivery;
pub mod demo;
pub mod doctor;
pub mod endpoint;
pub mod error;
pub mod event;
pub mod event_type;
pub mod flow;
pub mod input;
pub mod key;
pub mod listen;
pub mod listen_remote;
pub mod module;
pub mod node;
pub mod partial_id;
pub mod plan_capacity;
pub mod resource;
pub mod screen;
pub mod source;
pub mod status;
pub mod token;
pub mod tool_bridge;
pub mod variables;
pub mod verify;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::KeyOverride;

pub use error::CliError;
pub use screen::CommandScreen;

/// An integration engine: CRM events in, your WebAssembly modules in between, signed webhook
/// deliveries out.
#[derive(Debug, Parser)]
#[command(name = "waybill", version, arg_required_else_help = true)]
pub struct CommandLine {
    /// The command to run.
    #[command(subcommand)]
    pub command: CliCommand,
    /// Options for the look of the output.
    #[command(flatten)]
    pub look: screen::LookArgs,
}

/// Returns whether the command line asks for JSON, so that an error is JSON too.
pub fn wants_json(matches: &clap::ArgMatches) -> bool {
    let asks = matches.try_get_one::<bool>("json").is_ok_and(|json| json.copied() == Some(true));
    asks || matches.subcommand().is_some_and(|(_, inner)| wants_json(inner))
}

/// The commands of `waybill`.
#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Run the server.
    Serve(ServeArgs),
    /// Run the server on a throw-away database with example modules, made-up CRM events and a
    /// verifying receiver.
    Demo(DemoArgs),
    /// Show on one screen whether the server is well. Exit status 0: well, 1: something needs
    /// attention, 3: no answer.
    Status(status::StatusArgs),
    /// Check configuration, files, database, ports, clock, resolver, space and certificate, before
    /// the server starts or while it runs.
    Doctor(doctor::DoctorArgs),
    /// Receive deliveries here, print each one and check its signature.
    Listen(listen::ListenArgs),
    /// Check the signatures of a captured request and explain those that do not fit.
    Verify(verify::VerifyArgs),
    /// Write, build, try and upload modules.
    #[command(subcommand)]
    Module(module::ModuleCommand),
    /// Change the server to match a YAML or TOML file with sources, endpoints, flows, modules and
    /// tokens.
    Apply(apply::ApplyArgs),
    /// Print the server's sources, endpoints, flows, modules and tokens as a file for `apply`.
    Export(apply::ExportArgs),
    /// Manage endpoints, which receive deliveries.
    #[command(subcommand)]
    Endpoint(endpoint::EndpointCommand),
    /// Run an operation of an endpoint of kind api, or print its request.
    Call(call::CallArgs),
    /// Describe the kinds of endpoints in this program. Needs no server.
    #[command(subcommand)]
    Channel(channel::ChannelCommand),
    /// Manage flows, which lead events through modules to endpoints.
    #[command(subcommand)]
    Flow(flow::FlowCommand),
    /// Manage sources, which send events.
    #[command(subcommand)]
    Source(source::SourceCommand),
    /// Manage tokens, which give access to the API.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// List the calls of the API.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// List and acknowledge alerts.
    #[command(subcommand)]
    Alert(alert::AlertCommand),
    /// List the processes that share the server's database.
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Compute the nodes, PostgreSQL servers and disks that a number of events needs. Needs no
    /// server.
    PlanCapacity(plan_capacity::CapacityArgs),
    /// List, send and replay events.
    #[command(subcommand)]
    Event(event::EventCommand),
    /// List, replay and cancel deliveries.
    #[command(subcommand)]
    Delivery(delivery::DeliveryCommand),
    /// List, replay and delete dead letters, which are not tried again automatically.
    #[command(subcommand)]
    DeadLetter(dead_letter::DeadLetterCommand),
    /// Show which events of a day reached an endpoint, name every gap, and send just those. Exit
    /// status 0: no gaps, 1: gaps.
    Completeness(completeness::CompletenessArgs),
    /// Offer the server's tools over standard input and output to a program that speaks the Model
    /// Context Protocol.
    Mcp(tool_bridge::McpArgs),
    /// Describe the event types in this program's catalogue. Needs no server.
    #[command(subcommand)]
    EventType(event_type::EventTypeCommand),
    /// Copy the SQLite database into a file while the server runs, or when it does not.
    Backup(backup::BackupArgs),
    /// Change the key that encrypts stored secrets.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Print a script that completes commands and options in a shell.
    Completions(completions::CompletionArgs),
    /// Print the manual page, or write the pages of all commands.
    Man(completions::ManArgs),
    /// Compile a module for the server, which runs this command itself.
    #[command(hide = true)]
    CompileModule,
    /// Print the OpenAPI description.
    #[command(hide = true)]
    Openapi,
}

/// Arguments of `waybill serve`.
#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    /// Configuration file (TOML); waybill.example.toml shows every key.
    #[arg(long, value_name = "FILE", env = "WAYBILL_CONFIG")]
    pub config: Option<PathBuf>,
    /// Address and port to listen on [default: 127.0.0.1:8400].
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Database, sqlite:FILE or postgres://… [default: sqlite:waybill.db].
    #[arg(long, value_name = "URL")]
    pub database: Option<String>,
}

impl ServeArgs {
    /// Returns the options as overrides of the configuration.
    pub fn overrides(&self) -> Vec<KeyOverride> {
        let listen = self.listen.clone().map(|value| ("server.listen", "--listen", value));
        let database = self.database.clone().map(|value| ("database.url", "--database", value));
        let given = listen.into_iter().chain(database);
        given.map(|(key, flag, value)| KeyOverride { key, flag, value }).collect()
    }
}

/// Arguments of `waybill demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Address and port to listen on; port 0 chooses a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8400")]
    pub listen: String,
    /// Number of made-up events a second.
    #[arg(long, value_name = "N", default_value_t = 2.0)]
    pub rate: f64,
    /// Folder of built example modules, instead of those within the program.
    #[arg(long, value_name = "DIR", env = "WAYBILL_GUESTS")]
    pub modules: Option<PathBuf>,
    /// Stop after this many events instead of at Ctrl-C.
    #[arg(long, value_name = "N")]
    pub events: Option<u64>,
}

/// Runs a client command and writes its output to `screen`.
///
/// `serve`, `demo`, `doctor`, `backup`, `key` and `compile-module` need things that only the binary
/// has. They fail here as bad usage.
pub async fn run_command(
    command: CliCommand,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    match command {
        CliCommand::Status(args) => status::run_status(args, screen).await,
        CliCommand::Listen(args) => listen::run_listen(args, screen).await,
        CliCommand::Verify(args) => verify::run_verify(&args, screen),
        CliCommand::Module(command) => module::run_module(command, screen).await,
        CliCommand::Apply(args) => apply::apply_file(args, screen).await,
        CliCommand::Export(args) => apply::export_config(args, screen).await,
        CliCommand::Endpoint(command) => endpoint::run_endpoint(command, screen).await,
        CliCommand::Call(args) => call::run_call(args, screen).await,
        CliCommand::Channel(command) => channel::run_channel(&command, screen),
        CliCommand::Flow(command) => flow::run_flow(command, screen).await,
        CliCommand::Source(command) => source::run_source(command, screen).await,
        CliCommand::Token(command) => token::run_token(command, screen).await,
        CliCommand::Audit(command) => audit::run_audit(command, screen).await,
        CliCommand::Alert(command) => alert::run_alert(command, screen).await,
        CliCommand::Node(command) => node::run_node(command, screen).await,
        CliCommand::PlanCapacity(args) => plan_capacity::plan_capacity(&args, screen),
        CliCommand::Event(command) => event::run_event(command, screen).await,
        CliCommand::Delivery(command) => delivery::run_delivery(command, screen).await,
        CliCommand::DeadLetter(command) => dead_letter::run_dead_letter(command, screen).await,
        CliCommand::Completeness(args) => completeness::run_completeness(args, screen).await,
        CliCommand::Mcp(args) => tool_bridge::run_bridge(args, screen).await,
        CliCommand::EventType(command) => event_type::run_event_type(command, screen),
        CliCommand::Completions(args) => completions::print_completions(&args, screen),
        CliCommand::Man(args) => completions::print_man(&args, screen),
        CliCommand::Openapi => Ok(screen.print_json(&crate::api::document())?),
        CliCommand::Serve(_)
        | CliCommand::Demo(_)
        | CliCommand::Doctor(_)
        | CliCommand::Backup(_)
        | CliCommand::Key(_)
        | CliCommand::CompileModule => {
            Err(CliError::Usage("only the binary runs this command".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests;
