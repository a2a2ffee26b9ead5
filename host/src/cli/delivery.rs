//! `waybill delivery …`

use clap::{Args, Subcommand};
use http::Method;

use super::client::{Body, Query, Remote, escape};
use super::endpoint::ENDPOINT;
use super::resource::IdArgs;
use super::screen::Column;
use super::{Error, Screen};

const COLUMNS: &[Column] = &[
    ("created", &["/created_at"]),
    ("event type", &["/event_type", "/event/type"]),
    ("endpoint", &["/endpoint/name", "/endpoint_name", "/endpoint", "/endpoint_id"]),
    ("status", &["/status"]),
    ("attempts", &["/attempt_count"]),
    ("due", &["/due_at"]),
    ("id", &["/id"]),
];

/// What can be done with deliveries.
#[derive(Debug, Subcommand)]
pub enum DeliveryCommand {
    /// List them, newest first.
    List(DeliveryListArgs),
    /// Show one with every attempt.
    Show(IdArgs),
    /// Send one again now, with the same webhook-id.
    Replay(IdArgs),
    /// Call one off that is waiting.
    Cancel(IdArgs),
}

/// Which deliveries to list.
#[derive(Debug, Args)]
pub struct DeliveryListArgs {
    /// For that endpoint, by name or id.
    #[arg(long, value_name = "NAME|ID")]
    endpoint: Option<String>,
    /// pending, leased, delivered, dead, superseded or cancelled.
    #[arg(long)]
    status: Option<String>,
    /// Of that event type.
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    /// Made at that time or later (RFC 3339).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Most to show.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    remote: Remote,
}

pub(super) async fn run(command: DeliveryCommand, screen: &mut Screen<'_>) -> Result<(), Error> {
    match command {
        DeliveryCommand::List(args) => list(args, screen).await,
        DeliveryCommand::Show(args) => {
            let client = args.remote.connect(screen)?;
            let path = format!("/deliveries/{}", escape(&args.id));
            let delivery = client.call(Method::GET, &path, Body::None).await?;
            Ok(screen.show(&delivery)?)
        }
        DeliveryCommand::Replay(args) => act(args, "replay", "is sent again", screen).await,
        DeliveryCommand::Cancel(args) => act(args, "cancel", "is cancelled", screen).await,
    }
}

async fn list(args: DeliveryListArgs, screen: &mut Screen<'_>) -> Result<(), Error> {
    let client = args.remote.connect(screen)?;
    let mut query = Query::default();
    if let Some(name) = args.endpoint {
        query.add("endpoint", Some(ENDPOINT.find_id(&client, &name).await?));
    }
    query.add("status", args.status);
    query.add("event_type", args.event_type);
    query.add("since", args.since);
    let found = client.list("/deliveries", &query, args.limit).await?;
    Ok(screen.list(COLUMNS, &found, "no such deliveries")?)
}

async fn act(args: IdArgs, verb: &str, done: &str, screen: &mut Screen<'_>) -> Result<(), Error> {
    let client = args.remote.connect(screen)?;
    let path = format!("/deliveries/{}/{verb}", escape(&args.id));
    let answer = client.call(Method::POST, &path, Body::None).await?;
    Ok(screen.done(format!("delivery {} {done}", args.id), &answer)?)
}
