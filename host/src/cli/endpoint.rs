//! `waybill endpoint …`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{CallBody, QueryParameters, RemoteServer, escape_path};
use super::input::{SettingsArgs, names};
use super::resource::{DeleteArgs, ListArgs, OneArgs, ResourceKind, UpdateArgs};
use super::screen::ListColumn;
use super::{CliError, CommandScreen};

/// The resource `endpoints`.
pub const ENDPOINT: ResourceKind = ResourceKind {
    word: "endpoint",
    path: "/endpoints",
    prefix: "end_",
    columns: &[
        ("name", &["/name"]),
        ("kind", &["/kind"]),
        ("mode", &["/mode"]),
        ("events", &["/events"]),
        ("url", &["/url"]),
        ("enabled", &["/enabled"]),
        ("id", &["/id"]),
    ],
};

/// Columns of a list of operations.
const OPERATIONS: &[ListColumn] = &[
    ("name", &["/name"]),
    ("method", &["/method"]),
    ("path", &["/path"]),
    ("events", &["/events"]),
    ("reply", &["/reply/event"]),
];

/// The subcommands of `waybill endpoint`.
#[derive(Debug, Subcommand)]
pub enum EndpointCommand {
    /// List endpoints.
    List(ListArgs),
    /// Show an endpoint.
    Show(OneArgs),
    /// Create an endpoint. Its secret is shown once.
    Create(CreateEndpointArgs),
    /// Change settings of an endpoint. Other settings stay as they are.
    Update(UpdateArgs),
    /// Delete an endpoint. Its waiting deliveries are cancelled.
    Delete(DeleteArgs),
    /// Send an example from the catalogue to an endpoint now and show the attempt.
    Test(TestEndpointArgs),
    /// List the operations of an endpoint of kind api.
    Operations(OneArgs),
    /// Give an endpoint a new secret. The old one stays valid for a while.
    RotateSecret(RotateArgs),
}

/// Arguments of `waybill endpoint create`.
#[derive(Debug, Args)]
pub struct CreateEndpointArgs {
    /// Name of the endpoint.
    name: Option<String>,
    /// Kind of the receiving system: webhook, or another of `waybill channel list`.
    #[arg(long)]
    kind: Option<String>,
    /// URL to which deliveries go.
    #[arg(long)]
    url: Option<String>,
    /// Event types that it receives without a flow: `invoice.paid,lead.*` or `*`.
    #[arg(long, value_delimiter = ',', value_name = "TYPES")]
    events: Vec<String>,
    /// Condition on these events, in CEL: `double(data.total) >= 1000.0`.
    #[arg(long = "where", value_name = "EXPRESSION")]
    condition: Option<String>,
    /// Mode: immediate, smart or async.
    #[arg(long)]
    mode: Option<String>,
    /// Signing secret [default: a new one].
    #[arg(long, env = "WAYBILL_ENDPOINT_SECRET", hide_env_values = true)]
    secret: Option<String>,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    remote: RemoteServer,
}

/// Arguments of `waybill endpoint test`.
#[derive(Debug, Args)]
pub struct TestEndpointArgs {
    /// Name or id of the endpoint.
    #[arg(value_name = "NAME|ID")]
    name: String,
    /// Event type to send.
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    #[command(flatten)]
    remote: RemoteServer,
}

/// Arguments of `waybill endpoint rotate-secret`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// Name or id of the endpoint.
    #[arg(value_name = "NAME|ID")]
    name: String,
    /// Time for which the old secret stays valid, at most 24h.
    #[arg(long, default_value = "24h", value_name = "DURATION")]
    grace: String,
    #[command(flatten)]
    remote: RemoteServer,
}

pub async fn run_endpoint(
    command: EndpointCommand,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    match command {
        EndpointCommand::List(args) => ENDPOINT.list(args, screen).await,
        EndpointCommand::Show(args) => ENDPOINT.show(args, screen).await,
        EndpointCommand::Create(args) => create_endpoint(args, screen).await,
        EndpointCommand::Update(args) => ENDPOINT.update(args, screen).await,
        EndpointCommand::Delete(args) => ENDPOINT.delete(args, screen).await,
        EndpointCommand::Test(args) => test_endpoint(args, screen).await,
        EndpointCommand::Operations(args) => list_operations(args, screen).await,
        EndpointCommand::RotateSecret(args) => rotate_secret(args, screen).await,
    }
}

async fn create_endpoint(
    args: CreateEndpointArgs,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let settings = args.settings.object(vec![
        ("name", args.name.map(Value::String)),
        ("kind", args.kind.map(Value::String)),
        ("url", args.url.map(Value::String)),
        ("events", names(&args.events)),
        ("where", args.condition.map(Value::String)),
        ("mode", args.mode.map(Value::String)),
        ("secret", args.secret.map(Value::String)),
    ])?;
    ENDPOINT.create(args.remote, settings, screen).await
}

async fn test_endpoint(
    args: TestEndpointArgs,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let client = args.remote.connect(screen)?;
    let body = args.event_type.map_or_else(|| json!({}), |name| json!({ "event_type": name }));
    let attempt = ENDPOINT.act(&client, &args.name, "test", CallBody::Json(body)).await?;
    screen.print_object(&attempt)?;
    let text = |name: &str| attempt.get(name).and_then(Value::as_str);
    let Some(class) = text("error_class") else { return Ok(()) };
    let detail = text("error").map(|error| format!(": {error}")).unwrap_or_default();
    Err(CliError::failed(format!("the attempt failed, {class}{detail}")))
}

async fn list_operations(args: OneArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    let client = args.remote.connect(screen)?;
    let id = ENDPOINT.find_id(&client, &args.name).await?;
    let path = format!("{}/{}/operations", ENDPOINT.path, escape_path(&id));
    let found = client.list_pages(&path, &QueryParameters::default(), usize::MAX).await?;
    Ok(screen.print_list(OPERATIONS, &found, "the endpoint has no operations")?)
}

async fn rotate_secret(args: RotateArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    let client = args.remote.connect(screen)?;
    let body = CallBody::Json(json!({ "grace": args.grace }));
    let answer = ENDPOINT.act(&client, &args.name, "rotate-secret", body).await?;
    let secret = answer.get("secret").and_then(Value::as_str).unwrap_or_default();
    let said = format!(
        "new secret: {secret}\nKeep it: it is not shown again. The old one stays valid for {}.",
        args.grace
    );
    Ok(screen.print_outcome(said, &answer)?)
}
