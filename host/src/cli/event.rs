//! `waybill event …`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::client::{CallBody, QueryParameters, RemoteServer, escape_path};
use super::endpoint::ENDPOINT;
use super::input::read_document;
use super::partial_id::EVENT;
use super::resource::IdArgs;
use super::screen::ListColumn;
use super::{CliError, CommandScreen};

const COLUMNS: &[ListColumn] = &[
    ("received", &["/received_at", "/captured_at"]),
    ("type", &["/type"]),
    ("source", &["/source"]),
    ("resource", &["/resource"]),
    ("resource id", &["/resource_id"]),
    ("id", &["/id"]),
];

/// The subcommands of `waybill event`.
#[derive(Debug, Subcommand)]
pub enum EventCommand {
    /// List events, newest first.
    List(EventListArgs),
    /// Show an event with its whole trace: modules, deliveries, attempts.
    Show(IdArgs),
    /// Send an event to the server, by default the catalogue's example of that type.
    Send(SendArgs),
    /// Plan an event again with the modules that are active now, or send some of its deliveries
    /// again.
    Replay(ReplayEventArgs),
}

/// Arguments of `waybill event list`.
#[derive(Debug, Args)]
pub struct EventListArgs {
    /// Events of this type.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Events from this source.
    #[arg(long)]
    source: Option<String>,
    /// Events about this resource, such as invoice.
    #[arg(long)]
    resource: Option<String>,
    /// Events about this record.
    #[arg(long, value_name = "ID")]
    resource_id: Option<String>,
    /// Events captured at this time or later (RFC 3339).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Events captured before this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Largest number to show.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    remote: RemoteServer,
}

/// Arguments of `waybill event replay`.
#[derive(Debug, Args)]
pub struct ReplayEventArgs {
    /// Id of the event, or the beginning or end of it.
    id: String,
    /// Only send the deliveries to this endpoint again, with the same webhook-id.
    #[arg(long, value_name = "NAME|ID")]
    endpoint: Option<String>,
    /// Only send the failed deliveries again, with the same webhook-id.
    #[arg(long)]
    failed_only: bool,
    #[command(flatten)]
    remote: RemoteServer,
}

/// Arguments of `waybill event send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// Event type, such as invoice.paid.
    #[arg(value_name = "TYPE", required_unless_present = "from")]
    event_type: Option<String>,
    /// JSON or YAML file with the whole event, or several.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["event_type", "data"])]
    from: Option<PathBuf>,
    /// Data as JSON.
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    /// Id at the source. The same id has no effect again for 24 hours.
    #[arg(long)]
    id: Option<String>,
    /// Source of the event.
    #[arg(long)]
    source: Option<String>,
    /// Record that the event is about.
    #[arg(long, value_name = "ID")]
    resource_id: Option<String>,
    #[command(flatten)]
    remote: RemoteServer,
}

pub async fn run_event(
    command: EventCommand,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    match command {
        EventCommand::List(args) => list_events(args, screen).await,
        EventCommand::Show(args) => {
            let client = args.remote.connect(screen)?;
            let id = EVENT.find_whole(&client, &args.id).await?;
            let path = format!("/events/{}", escape_path(&id));
            let event = client.call_api(Method::GET, &path, CallBody::None).await?;
            Ok(screen.print_object(&event)?)
        }
        EventCommand::Send(args) => send_event(args, screen).await,
        EventCommand::Replay(args) => replay_event(args, screen).await,
    }
}

async fn replay_event(
    args: ReplayEventArgs,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let client = args.remote.connect(screen)?;
    let id = EVENT.find_whole(&client, &args.id).await?;
    let endpoint = match args.endpoint {
        Some(name) => Some(ENDPOINT.complete_id(&client, &name).await?),
        None => None,
    };
    let path = format!("/events/{}/replay", escape_path(&id));
    let some = endpoint.is_some() || args.failed_only;
    let body = json!({"endpoint": endpoint, "failed_only": args.failed_only});
    let answer = client.call_api(Method::POST, &path, CallBody::Json(body)).await?;
    let done = if some {
        let resent = answer.get("resent").and_then(Value::as_u64).unwrap_or_default();
        format!("{resent} deliveries of event {id} are sent again")
    } else {
        format!("event {id} is planned again")
    };
    Ok(screen.print_outcome(done, &answer)?)
}

async fn list_events(args: EventListArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    let mut query = QueryParameters::default();
    query.add("type", args.event_type);
    query.add("source", args.source);
    query.add("resource", args.resource);
    query.add("resource_id", args.resource_id);
    query.add("since", args.since);
    query.add("until", args.until);
    let client = args.remote.connect(screen)?;
    let found = client.list_pages("/events", &query, args.limit).await?;
    Ok(screen.print_list(COLUMNS, &found, "no such events")?)
}

async fn send_event(args: SendArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    let event = match &args.from {
        Some(path) => read_document(path)?,
        None => event(&args)?,
    };
    let client = args.remote.connect(screen)?;
    let answer = client.call_api(Method::POST, "/events", CallBody::Json(event)).await?;
    let all = answer.as_array().map_or(std::slice::from_ref(&answer), Vec::as_slice);
    let ids: Vec<String> = all.iter().map(accepted).collect();
    Ok(screen.print_outcome(ids.join("\n"), &answer)?)
}

/// Builds the event from the options.
fn event(args: &SendArgs) -> Result<Value, CliError> {
    let name = args.event_type.clone().unwrap_or_default();
    let known = crate::catalog::get().find(&name);
    let data = match (&args.data, known) {
        (Some(text), _) => serde_json::from_str(text)
            .map_err(|error| CliError::Usage(format!("--data is not JSON: {error}")))?,
        (None, Some(known)) => known.example(),
        (None, None) => {
            let near = crate::catalog::get().nearest(&name);
            let hint = near.map(|near| format!(" (or was {near} meant?)")).unwrap_or_default();
            return Err(CliError::Usage(format!(
                "{name} is not in the catalogue; give its --data{hint}"
            )));
        }
    };
    let resource_id =
        args.resource_id.clone().or_else(|| known.and_then(|known| known.resource_id(&data)));
    let mut event = Map::new();
    event.insert("type".to_owned(), Value::String(name));
    event.insert("data".to_owned(), data);
    let optional = [("id", &args.id), ("source", &args.source), ("resource_id", &resource_id)];
    for (key, value) in optional {
        if let Some(value) = value {
            event.insert(key.to_owned(), Value::String(value.clone()));
        }
    }
    Ok(Value::Object(event))
}

fn accepted(answer: &Value) -> String {
    let id = answer.get("id").and_then(Value::as_str).unwrap_or("?");
    match answer.get("duplicate").and_then(Value::as_bool) {
        Some(true) => format!("{id} was there already"),
        Some(false) | None => format!("{id} accepted"),
    }
}
