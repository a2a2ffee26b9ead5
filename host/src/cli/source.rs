//! `waybill source …`

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::Remote;
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
        SourceCommand::Delete(args) => SOURCE.delete(args, screen).await,
    }
}

async fn create(args: CreateArgs, screen: &mut Screen<'_>) -> Result<(), Error> {
    let settings = args.settings.object(vec![
        ("name", args.name.map(Value::String)),
        ("strict", args.strict.then_some(Value::Bool(true))),
    ])?;
    SOURCE.create(args.remote, settings, screen).await
}
