//! `waybill dead-letter …`

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value};

use super::client::{CallBody, QueryParameters, RemoteServer, ServerClient, escape_path};
use super::endpoint::ENDPOINT;
use super::partial_id::DEAD_LETTER;
use super::resource::{IdArgs, YesArg};
use super::screen::ListColumn;
use super::source::SOURCE;
use super::{CliError, CommandScreen};

const COLUMNS: &[ListColumn] = &[
    ("died", &["/died_at", "/dead_at", "/created_at"]),
    ("kind", &["/kind"]),
    ("event type or list", &["/event_type", "/event/type", "/list"]),
    (
        "endpoint or source",
        &["/endpoint/name", "/endpoint_name", "/endpoint", "/endpoint_id", "/source", "/source_id"],
    ),
    ("row", &["/row"]),
    ("reason", &["/reason"]),
    ("id", &["/id"]),
];

/// The subcommands of `waybill dead-letter`.
#[derive(Debug, Subcommand)]
pub enum DeadLetterCommand {
    /// List dead letters, newest first.
    List(DeadLetterListArgs),
    /// Show a dead letter.
    Show(IdArgs),
    /// Replay one dead letter, or all that the options select.
    Replay(ReplayDeadLettersArgs),
    /// Delete a dead letter for good.
    Delete(LetterDeleteArgs),
    /// Print all dead letters, one JSON document a line.
    Export(ExportDeadLettersArgs),
}

/// Selects dead letters.
#[derive(Debug, Args)]
pub struct DeadLetterChoice {
    /// Dead letters of this endpoint, by name or id.
    #[arg(long, value_name = "NAME|ID")]
    endpoint: Option<String>,
    /// Dead letters of this source, by name or id: its rows, and those of its events.
    #[arg(long, value_name = "NAME|ID")]
    source: Option<String>,
    /// Dead letters of this kind: `delivery`, `event` or `row`.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Dead letters of this event type.
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    /// Dead letters with this reason, such as `retries_exhausted`, `module_trap` or
    /// `row_unreadable`.
    #[arg(long)]
    reason: Option<String>,
    /// Dead letters from this time or later (RFC 3339).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

/// Arguments of `waybill dead-letter list`.
#[derive(Debug, Args)]
pub struct DeadLetterListArgs {
    #[command(flatten)]
    filter: DeadLetterChoice,
    /// Largest number to show.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    remote: RemoteServer,
}

/// Arguments of `waybill dead-letter replay`.
#[derive(Debug, Args)]
pub struct ReplayDeadLettersArgs {
    /// Id of a dead letter, or the beginning or end of it. To replay many, use the options or
    /// --all.
    #[arg(value_name = "ID", conflicts_with_all = ["all", "endpoint", "source", "kind", "event_type", "reason", "since", "per_second", "dry_run"])]
    id: Option<String>,
    /// Replay all dead letters.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: DeadLetterChoice,
    /// Largest number of replays a second.
    #[arg(long, value_name = "N")]
    per_second: Option<f64>,
    /// Count them without replaying them.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    remote: RemoteServer,
}

/// Arguments of `waybill dead-letter delete`.
#[derive(Debug, Args)]
pub struct LetterDeleteArgs {
    /// Id of the dead letter, or the beginning or end of it.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    yes: YesArg,
    #[command(flatten)]
    remote: RemoteServer,
}

/// Arguments of `waybill dead-letter export`.
#[derive(Debug, Args)]
pub struct ExportDeadLettersArgs {
    #[command(flatten)]
    filter: DeadLetterChoice,
    #[command(flatten)]
    remote: RemoteServer,
}

pub async fn run_dead_letter(
    command: DeadLetterCommand,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    match command {
        DeadLetterCommand::List(args) => {
            let client = args.remote.connect(screen)?;
            let query = args.filter.query(&client).await?;
            let found = client.list_pages("/dead-letters", &query, args.limit).await?;
            Ok(screen.print_list(COLUMNS, &found, "no dead letters")?)
        }
        DeadLetterCommand::Show(args) => {
            let client = args.remote.connect(screen)?;
            let id = DEAD_LETTER.find_whole(&client, &args.id).await?;
            let path = format!("/dead-letters/{}", escape_path(&id));
            let letter = client.call_api(Method::GET, &path, CallBody::None).await?;
            Ok(screen.print_object(&letter)?)
        }
        DeadLetterCommand::Replay(args) => replay_dead_letters(args, screen).await,
        DeadLetterCommand::Delete(args) => {
            let client = args.remote.connect(screen)?;
            let id = DEAD_LETTER.find_whole(&client, &args.id).await?;
            args.yes.confirm(&format!("Delete dead letter {id} for good?"), screen)?;
            let path = format!("/dead-letters/{}", escape_path(&id));
            let answer = client.call_api(Method::DELETE, &path, CallBody::None).await?;
            Ok(screen.print_outcome(format!("dead letter {id} deleted"), &answer)?)
        }
        DeadLetterCommand::Export(args) => {
            let client = args.remote.connect(screen)?;
            let query = args.filter.query(&client).await?;
            client.copy_to_screen(&format!("/dead-letters/export{query}"), screen).await
        }
    }
}

impl DeadLetterChoice {
    /// Returns the filters by their names in the REST interface.
    async fn named(
        self,
        client: &ServerClient,
    ) -> Result<[(&'static str, Option<String>); 6], CliError> {
        let endpoint = match self.endpoint {
            Some(name) => Some(ENDPOINT.find_id(client, &name).await?),
            None => None,
        };
        let source = match self.source {
            Some(name) => Some(SOURCE.complete_id(client, &name).await?),
            None => None,
        };
        Ok([
            ("endpoint", endpoint),
            ("source", source),
            ("kind", self.kind),
            ("event_type", self.event_type),
            ("reason", self.reason),
            ("since", self.since),
        ])
    }

    async fn query(self, client: &ServerClient) -> Result<QueryParameters, CliError> {
        let mut query = QueryParameters::default();
        for (name, value) in self.named(client).await? {
            query.add(name, value);
        }
        Ok(query)
    }
}

async fn replay_dead_letters(
    args: ReplayDeadLettersArgs,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let client = args.remote.connect(screen)?;
    if let Some(id) = &args.id {
        let id = DEAD_LETTER.find_whole(&client, id).await?;
        let path = format!("/dead-letters/{}/replay", escape_path(&id));
        let answer = client.call_api(Method::POST, &path, CallBody::None).await?;
        return Ok(screen.print_outcome(format!("dead letter {id} is tried again"), &answer)?);
    }
    let named = args.filter.named(&client).await?;
    let filter: Map<String, Value> = named
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?))))
        .collect();
    if filter.is_empty() && !args.all {
        return Err(CliError::Usage(
            "name a dead letter, a filter such as --endpoint, or --all".to_owned(),
        ));
    }
    let mut body = Map::from_iter([("filter".to_owned(), Value::Object(filter))]);
    if let Some(rate) = args.per_second {
        body.insert("per_second".to_owned(), rate.into());
    }
    body.insert("dry_run".to_owned(), args.dry_run.into());
    let path = "/dead-letters/replay";
    let answer = client.call_api(Method::POST, path, CallBody::Json(Value::Object(body))).await?;
    let count = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
    let said = if args.dry_run {
        format!("{} match; nothing was replayed", count("matched"))
    } else {
        format!("{} match, {} are tried again", count("matched"), count("replayed"))
    };
    Ok(screen.print_outcome(said, &answer)?)
}
