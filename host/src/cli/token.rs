//! `waybill token …`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::RemoteServer;
use super::resource::{DeleteArgs, ListArgs, OneArgs, ResourceKind, UpdateArgs};
use super::{CliError, CommandScreen};

/// The resource `tokens`.
pub const TOKEN: ResourceKind = ResourceKind {
    word: "token",
    path: "/tokens",
    prefix: "tok_",
    columns: &[
        ("name", &["/name"]),
        ("scopes", &["/scopes"]),
        ("tables", &["/tables"]),
        ("sources", &["/sources"]),
        ("from", &["/from"]),
        ("rate", &["/rate"]),
        ("expires", &["/expires_at"]),
        ("last used", &["/last_used_at"]),
        ("id", &["/id"]),
    ],
};

/// The subcommands of `waybill token`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// List tokens.
    List(ListArgs),
    /// Show a token.
    Show(OneArgs),
    /// Create a token, which is shown once.
    Create(CreateTokenArgs),
    /// Change settings of a token. Other settings stay as they are.
    Update(UpdateArgs),
    /// Revoke a token, so that nobody can use it any more.
    #[command(alias = "delete")]
    Revoke(DeleteArgs),
}

/// Arguments of `waybill token create`.
#[derive(Debug, Args)]
pub struct CreateTokenArgs {
    /// Name of the token.
    name: String,
    /// Scope: `events:write`, `endpoints:read`, …, `admin`, or `read-only` for all reading. May be
    /// repeated
    #[arg(long, required = true, value_name = "SCOPE", value_delimiter = ',')]
    scope: Vec<String>,
    /// Limit the token to a resource, such as `invoice`. May be repeated
    #[arg(long, value_name = "TABLE", value_delimiter = ',')]
    table: Vec<String>,
    /// Limit the token to a source, such as `erp`. May be repeated
    #[arg(long, value_name = "SOURCE", value_delimiter = ',')]
    source: Vec<String>,
    /// Limit the token to a network, such as `192.0.2.0/24`. May be repeated
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    from: Vec<String>,
    /// Largest number of calls a minute
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// Expiry time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    #[command(flatten)]
    remote: RemoteServer,
}

pub async fn run_token(
    command: TokenCommand,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    match command {
        TokenCommand::List(args) => TOKEN.list(args, screen).await,
        TokenCommand::Show(args) => TOKEN.show(args, screen).await,
        TokenCommand::Create(args) => create_token(args, screen).await,
        TokenCommand::Update(args) => TOKEN.update(args, screen).await,
        TokenCommand::Revoke(args) => TOKEN.delete(args, screen).await,
    }
}

async fn create_token(
    args: CreateTokenArgs,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let list = |values: Vec<String>| (!values.is_empty()).then(|| json!(values));
    let named = [
        ("name", Some(Value::String(args.name))),
        ("scopes", Some(json!(args.scope))),
        ("tables", list(args.table)),
        ("sources", list(args.source)),
        ("from", list(args.from)),
        ("rate", args.rate.map(Value::from)),
        ("expires_at", args.expires.map(Value::String)),
    ];
    let given = named.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    TOKEN.create(args.remote, Value::Object(given.collect()), screen).await
}
