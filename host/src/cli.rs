//! The command line: everything `waybill` can be asked to do in a shell.
//!
//! `serve`, `demo`, `doctor` and `backup` need what only the binary has and are left to it;
//! everything else is a client: it writes to a [`CommandScreen`], and fails with an [`CliError`]
//! that says what was wrong and what to do next. Nothing here reads the environment but through the
//! parser, which the binary calls.
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
pub mod module;
pub mod node;
pub mod partial_id;
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
    /// What to do.
    #[command(subcommand)]
    pub command: CliCommand,
    /// How the output looks.
    #[command(flatten)]
    pub look: screen::LookArgs,
}

/// Whether the command line asks for JSON, so that an error is JSON too.
pub fn wants_json(matches: &clap::ArgMatches) -> bool {
    let asks = matches.try_get_one::<bool>("json").is_ok_and(|json| json.copied() == Some(true));
    asks || matches.subcommand().is_some_and(|(_, inner)| wants_json(inner))
}

/// What `waybill` can do.
#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Run the server.
    Serve(ServeArgs),
    /// Run the server on a throw-away database with example modules, made-up CRM events and a
    /// verifying receiver.
    Demo(DemoArgs),
    /// Show on one screen whether the server is well: exit status 0 well, 1 something needs
    /// attention, 3 no answer.
    Status(status::StatusArgs),
    /// Check configuration, files, database, ports, clock, resolver, space and certificate, before
    /// the server starts or while it runs.
    Doctor(doctor::DoctorArgs),
    /// Receive deliveries here, print each and check its signature.
    Listen(listen::ListenArgs),
    /// Check the signatures of one captured request and say what is wrong where one does not fit.
    Verify(verify::VerifyArgs),
    /// Write, build, try and upload modules.
    #[command(subcommand)]
    Module(module::ModuleCommand),
    /// Bring the server to what a YAML or TOML file says: sources, endpoints, flows, modules and
    /// tokens.
    Apply(apply::ApplyArgs),
    /// Print the server's sources, endpoints, flows, modules and tokens as a file for `apply`.
    Export(apply::ExportArgs),
    /// Where deliveries go, and how.
    #[command(subcommand)]
    Endpoint(endpoint::EndpointCommand),
    /// Run an operation of an endpoint of kind api, or print its request.
    Call(call::CallArgs),
    /// The kinds of endpoints of this program; needs no server.
    #[command(subcommand)]
    Channel(channel::ChannelCommand),
    /// Which events pass which modules to which endpoints.
    #[command(subcommand)]
    Flow(flow::FlowCommand),
    /// The systems that events come from.
    #[command(subcommand)]
    Source(source::SourceCommand),
    /// Who may call the server, and what for.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Who called the server, from where, and what came of it.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// What is wrong by the rules, and saying that somebody sees to it.
    #[command(subcommand)]
    Alert(alert::AlertCommand),
    /// The processes that share the server's database.
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Captured events and what became of them.
    #[command(subcommand)]
    Event(event::EventCommand),
    /// One event for one endpoint: its attempts, and trying again.
    #[command(subcommand)]
    Delivery(delivery::DeliveryCommand),
    /// What will not be tried again by itself.
    #[command(subcommand)]
    DeadLetter(dead_letter::DeadLetterCommand),
    /// Offer the server's tools to a program that speaks the Model Context Protocol over standard
    /// input and output.
    Mcp(tool_bridge::McpArgs),
    /// The catalogue of event types of this program; needs no server.
    #[command(subcommand)]
    EventType(event_type::EventTypeCommand),
    /// Copy the SQLite database into a file, beside a running server or a stopped one.
    Backup(backup::BackupArgs),
    /// The key that encrypts stored secrets.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Print a script that completes commands and options in a shell.
    Completions(completions::CompletionArgs),
    /// Print the manual page, or write the pages of all commands.
    Man(completions::ManArgs),
    /// Compile a module for the server, which starts this itself.
    #[command(hide = true)]
    CompileModule,
    /// Print the OpenAPI description.
    #[command(hide = true)]
    Openapi,
}

/// `waybill serve`.
#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    /// Configuration file (TOML); waybill.example.toml shows every key.
    #[arg(long, value_name = "FILE", env = "WAYBILL_CONFIG")]
    pub config: Option<PathBuf>,
    /// Address and port to listen on [default: 127.0.0.1:8400].
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// sqlite:FILE or postgres://… [default: sqlite:waybill.db].
    #[arg(long, value_name = "URL")]
    pub database: Option<String>,
}

impl ServeArgs {
    /// The options as overrides of the configuration.
    pub fn overrides(&self) -> Vec<KeyOverride> {
        let listen = self.listen.clone().map(|value| ("server.listen", "--listen", value));
        let database = self.database.clone().map(|value| ("database.url", "--database", value));
        let given = listen.into_iter().chain(database);
        given.map(|(key, flag, value)| KeyOverride { key, flag, value }).collect()
    }
}

/// `waybill demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8400")]
    pub listen: String,
    /// Made-up events a second.
    #[arg(long, value_name = "N", default_value_t = 2.0)]
    pub rate: f64,
    /// Folder of built example modules, in place of those within the program.
    #[arg(long, value_name = "DIR", env = "WAYBILL_GUESTS")]
    pub modules: Option<PathBuf>,
    /// Stop after so many events instead of at Ctrl-C.
    #[arg(long, value_name = "N")]
    pub events: Option<u64>,
}

/// Runs a client command and writes what it has to say to `screen`.
///
/// `serve`, `demo`, `doctor`, `backup`, `key` and `compile-module` are not for here: they need what only
/// the binary has, and fail as bad usage.
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
        CliCommand::Event(command) => event::run_event(command, screen).await,
        CliCommand::Delivery(command) => delivery::run_delivery(command, screen).await,
        CliCommand::DeadLetter(command) => dead_letter::run_dead_letter(command, screen).await,
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
            Err(CliError::Usage("this command is the binary's own".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests;
