//! `waybill delivery …`

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::client::{CallBody, QueryParameters, RemoteServer, escape_path};
use super::endpoint::ENDPOINT;
use super::partial_id::DELIVERY;
use super::resource::IdArgs;
use super::screen::ListColumn;
use super::{CliError, CommandScreen};

const COLUMNS: &[ListColumn] = &[
    ("created", &["/created_at"]),
    ("event type", &["/event_type", "/event/type"]),
    ("endpoint", &["/endpoint/name", "/endpoint_name", "/endpoint", "/endpoint_id"]),
    ("status", &["/status"]),
    ("attempts", &["/attempt_count"]),
    ("due", &["/due_at"]),
    ("id", &["/id"]),
];

/// The subcommands of `waybill delivery`.
#[derive(Debug, Subcommand)]
pub enum DeliveryCommand {
    /// List deliveries, newest first.
    List(DeliveryListArgs),
    /// Show a delivery with every attempt.
    Show(IdArgs),
    /// Send a delivery again now, with the same webhook-id.
    Replay(IdArgs),
    /// Cancel a waiting delivery, or all waiting ones that match.
    Cancel(CancelArgs),
}

/// Arguments of `waybill delivery cancel`: one delivery, or all waiting ones that match.
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// Id of the delivery, or the beginning or end of it.
    #[arg(required_unless_present_any = ["endpoint", "event_type", "since", "until"],
        conflicts_with_all = ["endpoint", "event_type", "since", "until", "dry_run"])]
    id: Option<String>,
    /// Deliveries to this endpoint, by name or id.
    #[arg(long, value_name = "NAME|ID")]
    endpoint: Option<String>,
    /// Deliveries of this event type.
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    /// Deliveries made at this time or later (RFC 3339).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Deliveries made before this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Count them without cancelling them.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    remote: RemoteServer,
}

/// Arguments of `waybill delivery list`.
#[derive(Debug, Args)]
pub struct DeliveryListArgs {
    /// Deliveries to this endpoint, by name or id.
    #[arg(long, value_name = "NAME|ID")]
    endpoint: Option<String>,
    /// Deliveries in this status: pending, leased, delivered, dead, superseded or cancelled.
    #[arg(long)]
    status: Option<String>,
    /// Deliveries of this event type.
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    /// Deliveries made at this time or later (RFC 3339).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Largest number to show.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    remote: RemoteServer,
}

pub async fn run_delivery(
    command: DeliveryCommand,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    match command {
        DeliveryCommand::List(args) => list_deliveries(args, screen).await,
        DeliveryCommand::Show(args) => {
            let client = args.remote.connect(screen)?;
            let id = DELIVERY.find_whole(&client, &args.id).await?;
            let path = format!("/deliveries/{}", escape_path(&id));
            let delivery = client.call_api(Method::GET, &path, CallBody::None).await?;
            Ok(screen.print_object(&delivery)?)
        }
        DeliveryCommand::Replay(args) => {
            let client = args.remote.connect(screen)?;
            let id = DELIVERY.find_whole(&client, &args.id).await?;
            let path = format!("/deliveries/{}/replay", escape_path(&id));
            let answer = client.call_api(Method::POST, &path, CallBody::None).await?;
            Ok(screen.print_outcome(format!("delivery {id} is sent again"), &answer)?)
        }
        DeliveryCommand::Cancel(args) => cancel_deliveries(args, screen).await,
    }
}

async fn list_deliveries(
    args: DeliveryListArgs,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let client = args.remote.connect(screen)?;
    let mut query = QueryParameters::default();
    if let Some(name) = args.endpoint {
        query.add("endpoint", Some(ENDPOINT.find_id(&client, &name).await?));
    }
    query.add("status", args.status);
    query.add("event_type", args.event_type);
    query.add("since", args.since);
    let found = client.list_pages("/deliveries", &query, args.limit).await?;
    Ok(screen.print_list(COLUMNS, &found, "no such deliveries")?)
}

async fn cancel_deliveries(
    args: CancelArgs,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let client = args.remote.connect(screen)?;
    if let Some(id) = args.id {
        let id = DELIVERY.find_whole(&client, &id).await?;
        let path = format!("/deliveries/{}/cancel", escape_path(&id));
        let answer = client.call_api(Method::POST, &path, CallBody::None).await?;
        return Ok(screen.print_outcome(format!("delivery {id} is cancelled"), &answer)?);
    }
    let endpoint = match args.endpoint {
        Some(name) => Some(ENDPOINT.complete_id(&client, &name).await?),
        None => None,
    };
    let filter = json!({
        "endpoint": endpoint, "event_type": args.event_type, "since": args.since,
        "until": args.until,
    });
    let body = json!({"filter": filter, "dry_run": args.dry_run});
    let answer = client.call_api(Method::POST, "/deliveries/cancel", CallBody::Json(body)).await?;
    let number = |key| answer.get(key).and_then(Value::as_u64).unwrap_or_default();
    let done = format!(
        "{} waiting deliveries match; {} are cancelled",
        number("matched"),
        number("cancelled")
    );
    Ok(screen.print_outcome(done, &answer)?)
}
