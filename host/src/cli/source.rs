//! `waybill source …`

use clap::{Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::client::{CallBody, RemoteServer};
use super::input::{SettingsArgs, names};
use super::resource::{DeleteArgs, ListArgs, OneArgs, ResourceKind, UpdateArgs};
use super::{CliError, CommandScreen};

/// The resource `sources`.
pub const SOURCE: ResourceKind = ResourceKind {
    word: "source",
    path: "/sources",
    prefix: "src_",
    columns: &[
        ("name", &["/name"]),
        ("kind", &["/kind"]),
        (
            "of",
            &[
                "/webhook/scheme",
                "/poll/preset",
                "/database/url",
                "/schedule/cron",
                "/nats/stream",
                "/amqp/queue",
            ],
        ),
        ("captured", &["/status/captured"]),
        ("lag ms", &["/run/lag_ms"]),
        ("waiting", &["/run/stream/waiting"]),
        ("last error", &["/run/error", "/status/last_error"]),
        ("strict", &["/strict"]),
        ("enabled", &["/enabled"]),
        ("id", &["/id"]),
    ],
};

/// The subcommands of `waybill source`.
#[derive(Debug, Subcommand)]
pub enum SourceCommand {
    /// List sources.
    List(ListArgs),
    /// Show a source.
    Show(OneArgs),
    /// Create a source.
    Create(Box<CreateSourceArgs>),
    /// Change settings of a source. Other settings stay as they are.
    Update(UpdateArgs),
    /// Pause a source until it is resumed. Webhooks are told to come again.
    Pause(OneArgs),
    /// Resume a paused source.
    Resume(OneArgs),
    /// Run a source of kind poll, database or schedule now. A source that takes messages runs all
    /// the time; after a failure it tries again at once.
    Run(OneArgs),
    /// Show an event that a source would make, without storing it.
    Test(OneArgs),
    /// Delete a source. Its events stay.
    Delete(DeleteArgs),
}

/// Arguments of `waybill source create`.
#[derive(Debug, Args)]
pub struct CreateSourceArgs {
    /// Name of the source.
    name: Option<String>,
    /// Refuse event types that are not in the catalogue.
    #[arg(long)]
    strict: bool,
    /// Receive webhooks of this sender at /in/NAME, such as perfexapi, github, hubspot or hmac; for
    /// an unknown sender the error lists all
    #[arg(long, value_name = "SCHEME")]
    webhook: Option<String>,
    /// Poll a REST API with this preset: data-builder, themesic, perfexapi, custom; with --url and
    /// --list
    #[arg(long, value_name = "PRESET", requires = "url", conflicts_with = "webhook")]
    poll: Option<String>,
    /// Site of the REST API, such as `https://crm.example.com`
    #[arg(long, value_name = "URL", requires = "poll")]
    url: Option<String>,
    /// List of the REST API, such as invoices; may be repeated
    #[arg(long = "list", value_name = "NAME", requires = "poll")]
    lists: Vec<String>,
    /// Read the CRM's database, such as `mysql://waybill@127.0.0.1:3306/perfex`, or any other with
    /// --table; --secret is its password
    #[arg(long, value_name = "URL", conflicts_with_all = ["webhook", "poll"])]
    database: Option<String>,
    /// Table to read that does not belong to the CRM, in PostgreSQL, MySQL or MariaDB, such as
    /// orders; may be repeated
    #[arg(long = "table", value_name = "NAME", requires = "database")]
    tables: Vec<String>,
    /// Take messages from a stream of this NATS server, such as `tls://nats.example.com:4222`, with
    /// --stream; --secret is the login token
    #[arg(long, value_name = "URL", requires = "stream", conflicts_with_all = ["webhook", "poll", "database"])]
    nats: Option<String>,
    /// Stream of JetStream, such as CRM
    #[arg(long, value_name = "NAME", requires = "nats")]
    stream: Option<String>,
    /// Take only messages of this subject, such as 'crm.>'; may be repeated
    #[arg(long = "subject", value_name = "SUBJECT", requires = "nats")]
    subjects: Vec<String>,
    /// Take messages from a queue of this broker of AMQP 0-9-1 and its virtual host, such as
    /// `amqps://mq.example.com/crm`, with --queue and --user; --secret is the user's password
    #[arg(long, value_name = "URL", requires_all = ["queue", "user"], conflicts_with_all = ["webhook", "poll", "database", "nats"])]
    amqp: Option<String>,
    /// Queue, such as waybill
    #[arg(long, value_name = "NAME", requires = "amqp")]
    queue: Option<String>,
    /// User for the login to the broker
    #[arg(long, value_name = "NAME", requires = "amqp")]
    user: Option<String>,
    /// Run at these times, such as '*/5 * * * *'; alone, it makes a clock that emits events
    #[arg(long, value_name = "EXPRESSION", conflicts_with_all = ["webhook", "nats", "amqp"])]
    cron: Option<String>,
    /// Interval at which a REST API or a database is polled, such as 1m
    #[arg(long, value_name = "SPAN", conflicts_with_all = ["cron", "webhook", "nats", "amqp"])]
    every: Option<String>,
    /// Time zone of --cron, and of the CRM's times
    #[arg(long, value_name = "ZONE", conflicts_with_all = ["webhook", "nats", "amqp"])]
    time_zone: Option<String>,
    /// Secret with which the sender signs [default: a new one]; or the API's token, the database's
    /// password, or the broker's token, password or key
    #[arg(long, value_name = "S", env = "WAYBILL_SOURCE_SECRET", hide_env_values = true)]
    secret: Option<SecretString>,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    remote: RemoteServer,
}

pub async fn run_source(
    command: SourceCommand,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    match command {
        SourceCommand::List(args) => SOURCE.list(args, screen).await,
        SourceCommand::Show(args) => SOURCE.show(args, screen).await,
        SourceCommand::Create(args) => create_source(*args, screen).await,
        SourceCommand::Update(args) => SOURCE.update(args, screen).await,
        SourceCommand::Pause(args) => act_on_source(args, "pause", "paused", screen).await,
        SourceCommand::Resume(args) => act_on_source(args, "resume", "resumed", screen).await,
        SourceCommand::Run(args) => act_on_source(args, "run", "asked to run", screen).await,
        SourceCommand::Test(args) => try_one(args, screen).await,
        SourceCommand::Delete(args) => SOURCE.delete(args, screen).await,
    }
}

async fn act_on_source(
    args: OneArgs,
    verb: &str,
    done: &str,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let client = args.remote.connect(screen)?;
    let answer = SOURCE.act(&client, &args.name, verb, CallBody::None).await?;
    Ok(screen.print_outcome(format!("source {} is {done}", args.name), &answer)?)
}

async fn try_one(args: OneArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    let client = args.remote.connect(screen)?;
    let answer = SOURCE.act(&client, &args.name, "test", CallBody::None).await?;
    Ok(screen.print_object(&answer)?)
}

impl CreateSourceArgs {
    /// Returns the kind of source that the options select.
    fn kind(&self) -> &'static str {
        match self {
            Self { webhook: Some(_), .. } => "webhook",
            Self { poll: Some(_), .. } => "poll",
            Self { database: Some(_), .. } => "database",
            Self { nats: Some(_), .. } => "nats",
            Self { amqp: Some(_), .. } => "amqp",
            Self { cron: Some(_), .. } => "schedule",
            _ => "http",
        }
    }
}

async fn create_source(
    args: CreateSourceArgs,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let kind = args.kind();
    if kind == "http" && (args.every.is_some() || args.time_zone.is_some()) {
        let message = "--every and --time-zone go with --poll, --database or --cron";
        return Err(CliError::Usage(message.to_owned()));
    }
    let of_kind = |name: &str| format!("{kind}.{name}");
    let [url_key, lists_key, cron_key, every_key, zone_key] =
        ["url", "lists", "cron", "every", "time_zone"].map(of_kind);
    let kind = (kind != "http").then(|| Value::from(kind));
    let secret = args.secret.map(|secret| Value::from(secret.expose_secret()));
    let settings = args.settings.object(vec![
        ("name", args.name.map(Value::String)),
        ("strict", args.strict.then_some(Value::Bool(true))),
        ("kind", kind),
        ("webhook.scheme", args.webhook.map(Value::String)),
        ("poll.preset", args.poll.map(Value::String)),
        (&url_key, args.url.or(args.database).or(args.nats).or(args.amqp).map(Value::String)),
        (&lists_key, names(&args.lists)),
        ("database.own_tables", names(&args.tables)),
        ("nats.stream", args.stream.map(Value::String)),
        ("nats.subjects", names(&args.subjects)),
        ("amqp.queue", args.queue.map(Value::String)),
        ("amqp.user", args.user.map(Value::String)),
        (&cron_key, args.cron.map(Value::String)),
        (&every_key, args.every.map(Value::String)),
        (&zone_key, args.time_zone.map(Value::String)),
        ("secret", secret),
    ])?;
    SOURCE.create(args.remote, settings, screen).await
}
