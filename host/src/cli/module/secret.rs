//! `waybill module secret …`: secrets that modules use by name.

use std::io::Read as _;

use clap::{Args, Subcommand};
use http::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};

use crate::cli::client::{CallBody, QueryParameters, RemoteServer, escape_path};
use crate::cli::resource::{DeleteArgs, ListArgs, OneArgs, ResourceKind};
use crate::cli::{CliError, CommandScreen};

/// The resource `secrets`.
const SECRET: ResourceKind = ResourceKind {
    word: "module secret",
    path: "/secrets",
    prefix: "sec_",
    columns: &[
        ("name", &["/name"]),
        ("hosts", &["/hosts"]),
        ("header", &["/header"]),
        ("query", &["/query"]),
        ("old one until", &["/grace_until"]),
        ("id", &["/id"]),
    ],
};

/// Largest value that is read, in bytes. The server accepts less.
const LONGEST: u64 = 64 << 10;

/// The subcommands of `waybill module secret`.
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Set a secret and where it may be sent. Its value is read from standard input.
    Set(SetArgs),
    /// Give a secret a new value. The old one stays valid for a while.
    Rotate(RotateSecretArgs),
    /// List secrets, without their values.
    List(ListArgs),
    /// Show where a secret may be sent.
    Show(OneArgs),
    /// Delete a secret.
    Delete(DeleteArgs),
}

/// Arguments of `waybill module secret set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Name that modules use.
    name: String,
    /// Host to which it may be sent, such as api.example.com; may be repeated.
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Header for the secret, such as authorization.
    #[arg(long, value_name = "NAME", conflicts_with = "query")]
    header: Option<String>,
    /// Text before the secret in the header, such as 'Bearer '.
    #[arg(long, value_name = "TEXT", requires = "header")]
    prefix: Option<String>,
    /// Query parameter for the secret.
    #[arg(long, value_name = "NAME")]
    query: Option<String>,
    #[command(flatten)]
    value: ValueArgs,
    #[command(flatten)]
    remote: RemoteServer,
}

/// Arguments of `waybill module secret rotate`.
#[derive(Debug, Args)]
pub struct RotateSecretArgs {
    /// Name or id of the secret.
    #[arg(value_name = "NAME|ID")]
    name: String,
    /// Time for which the old value stays valid, such as 1h [default and maximum: 24h].
    #[arg(long, value_name = "SPAN")]
    grace: Option<String>,
    #[command(flatten)]
    value: ValueArgs,
    #[command(flatten)]
    remote: RemoteServer,
}

/// The value of a secret.
#[derive(Debug, Args)]
pub struct ValueArgs {
    /// Value [default: read from standard input, so that it does not appear in the list of
    /// processes or the shell's history].
    #[arg(long, value_name = "VALUE", env = "WAYBILL_MODULE_SECRET", hide_env_values = true)]
    value: Option<SecretString>,
}

impl ValueArgs {
    fn read(self) -> Result<SecretString, CliError> {
        if let Some(value) = self.value {
            return Ok(value);
        }
        let mut text = String::new();
        let read = std::io::stdin().lock().take(LONGEST).read_to_string(&mut text);
        read.map_err(|error| CliError::failed(format!("cannot read standard input: {error}")))?;
        let value = text.trim_end_matches(['\r', '\n']);
        if value.is_empty() {
            return Err(CliError::Usage(
                "give the value on standard input, or with --value".to_owned(),
            ));
        }
        Ok(SecretString::from(value.to_owned()))
    }
}

pub async fn run_secret(
    command: SecretCommand,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    match command {
        SecretCommand::Set(args) => set_secret(args, screen).await,
        SecretCommand::Rotate(args) => rotate_secret(args, screen).await,
        SecretCommand::List(args) => SECRET.list(args, screen).await,
        SecretCommand::Show(args) => SECRET.show(args, screen).await,
        SecretCommand::Delete(args) => SECRET.delete(args, screen).await,
    }
}

/// Creates a secret, or sets an existing one again.
async fn set_secret(args: SetArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    let client = args.remote.connect(screen)?;
    let value = args.value.read()?;
    let mut settings = Map::from_iter([
        ("name".to_owned(), json!(args.name)),
        ("hosts".to_owned(), json!(args.hosts)),
        ("secret".to_owned(), json!(value.expose_secret())),
    ]);
    let texts = [("header", args.header), ("prefix", args.prefix), ("query", args.query)];
    settings.extend(texts.into_iter().map(|(key, text)| (key.to_owned(), json!(text))));
    let known = client.list_pages("/secrets", &QueryParameters::default(), usize::MAX).await?;
    let is_known =
        known.iter().any(|one| one.get("name").and_then(Value::as_str) == Some(&*args.name));
    let (method, path) = if is_known {
        (Method::PATCH, format!("/secrets/{}", escape_path(&args.name)))
    } else {
        settings.retain(|_, value| !value.is_null());
        (Method::POST, "/secrets".to_owned())
    };
    let answer = client.call_api(method, &path, CallBody::Json(settings.into())).await?;
    let said = format!("secret {} is set; modules that are granted it can name it", args.name);
    Ok(screen.print_outcome(said, &answer)?)
}

async fn rotate_secret(
    args: RotateSecretArgs,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let client = args.remote.connect(screen)?;
    let value = args.value.read()?;
    let mut rotation = Map::from_iter([("secret".to_owned(), json!(value.expose_secret()))]);
    rotation.extend(args.grace.map(|grace| ("grace".to_owned(), json!(grace))));
    let body = CallBody::Json(rotation.into());
    let answer = SECRET.act(&client, &args.name, "rotate", body).await?;
    let said = format!("secret {} has a new value; the old one stays valid for a while", args.name);
    Ok(screen.print_outcome(said, &answer)?)
}
