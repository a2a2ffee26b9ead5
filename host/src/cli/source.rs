//! `waybill source …`

use clap::{Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::client::{Body, Remote};
use super::input::Settings;
use super::resource::{Kind, ListArgs, OneArgs, UpdateArgs};
use super::{Error, Screen};

const SOURCE: Kind = Kind {
    word: "source",
    path: "/sources",
    prefix: "src_",
    columns: &[
        ("name", &["/name"]),
        ("kind", &["/kind"]),
        ("sender", &["/webhook/scheme"]),
        ("captured", &["/status/captured"]),
        ("last error", &["/status/last_error"]),
        ("strict", &["/strict"]),
        ("enabled", &["/enabled"]),
        ("id", &["/id"]),
    ],
};

/// What can be done with sources.
#[derive(Debug, Subcommand)]
pub enum SourceCommand {
    /// List them.
    List(ListArgs),
    /// Show one.
    Show(OneArgs),
    /// Make one.
    Create(CreateArgs),
    /// Change settings of one; what is not named stays.
    Update(UpdateArgs),
    /// Take nothing more from one until it is resumed; webhooks are told to come again.
    Pause(OneArgs),
    /// Take up one that was paused.
    Resume(OneArgs),
    /// Delete one; its events stay.
    Delete(OneArgs),
}

/// A new source.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Its name.
    name: Option<String>,
    /// Refuse event types that are not in the catalogue.
    #[arg(long)]
    strict: bool,
    /// Receive signed webhooks of this sender at /in/NAME: perfexapi, themesic, n8n-bridge, standard, github, stripe, shopify, slack, none
    #[arg(long, value_name = "SCHEME")]
    webhook: Option<String>,
    /// The secret that the sender signs with; one is made where left out
    #[arg(long, value_name = "S", env = "WAYBILL_SOURCE_SECRET", hide_env_values = true)]
    secret: Option<SecretString>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    remote: Remote,
}

pub(super) async fn run(command: SourceCommand, screen: &mut Screen<'_>) -> Result<(), Error> {
    match command {
        SourceCommand::List(args) => SOURCE.list(args, screen).await,
        SourceCommand::Show(args) => SOURCE.show(args, screen).await,
        SourceCommand::Create(args) => create(args, screen).await,
        SourceCommand::Update(args) => SOURCE.update(args, screen).await,
        SourceCommand::Pause(args) => act(args, "pause", "paused", screen).await,
        SourceCommand::Resume(args) => act(args, "resume", "taken up again", screen).await,
        SourceCommand::Delete(args) => SOURCE.delete(args, screen).await,
    }
}

async fn act(args: OneArgs, verb: &str, done: &str, screen: &mut Screen<'_>) -> Result<(), Error> {
    let client = args.remote.connect(screen)?;
    let answer = SOURCE.act(&client, &args.name, verb, Body::None).await?;
    Ok(screen.done(format!("source {} is {done}", args.name), &answer)?)
}

async fn create(args: CreateArgs, screen: &mut Screen<'_>) -> Result<(), Error> {
    let kind = args.webhook.is_some().then(|| Value::from("webhook"));
    let secret = args.secret.map(|secret| Value::from(secret.expose_secret()));
    let settings = args.settings.object(vec![
        ("name", args.name.map(Value::String)),
        ("strict", args.strict.then_some(Value::Bool(true))),
        ("kind", kind),
        ("webhook.scheme", args.webhook.map(Value::String)),
        ("secret", secret),
    ])?;
    SOURCE.create(args.remote, settings, screen).await
}
