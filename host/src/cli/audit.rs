//! `waybill audit …`

use clap::{Args, Subcommand};

use super::client::{QueryParameters, RemoteServer, ServerClient};
use super::screen::ListColumn;
use super::token::TOKEN;
use super::{CliError, CommandScreen};

const COLUMNS: &[ListColumn] = &[
    ("at", &["/at"]),
    ("token", &["/token", "/token_id"]),
    ("address", &["/address"]),
    ("method", &["/method"]),
    ("route", &["/route"]),
    ("status", &["/status"]),
    ("ms", &["/duration_ms"]),
    ("calls", &["/calls"]),
    ("request id", &["/id"]),
];

/// The subcommands of `waybill audit`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List calls, newest first.
    List(AuditListArgs),
    /// Print all calls, one JSON document a line.
    Export(AuditExportArgs),
}

/// Selects calls.
#[derive(Debug, Args)]
pub struct CallChoice {
    /// Calls of this token, by name or id. (The option --token is the token that makes the
    /// request.)
    #[arg(long, value_name = "NAME|ID")]
    of: Option<String>,
    /// Calls from this address.
    #[arg(long, value_name = "ADDR")]
    address: Option<String>,
    /// Calls with this method.
    #[arg(long)]
    method: Option<String>,
    /// Calls of this route, such as /api/v1/events.
    #[arg(long)]
    route: Option<String>,
    /// Calls with this status, such as 403, or of this class, such as 4xx.
    #[arg(long)]
    status: Option<String>,
    /// Calls at this time or later (RFC 3339).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Calls before this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// Arguments of `waybill audit list`.
#[derive(Debug, Args)]
pub struct AuditListArgs {
    #[command(flatten)]
    filter: CallChoice,
    /// Largest number to show.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    remote: RemoteServer,
}

/// Arguments of `waybill audit export`.
#[derive(Debug, Args)]
pub struct AuditExportArgs {
    #[command(flatten)]
    filter: CallChoice,
    #[command(flatten)]
    remote: RemoteServer,
}

impl CallChoice {
    async fn query(self, client: &ServerClient) -> Result<QueryParameters, CliError> {
        let mut query = QueryParameters::default();
        let token = match self.of {
            Some(name) => Some(TOKEN.complete_id(client, &name).await?),
            None => None,
        };
        query.add("token", token);
        query.add("address", self.address);
        query.add("method", self.method);
        query.add("route", self.route);
        query.add("status", self.status);
        query.add("since", self.since);
        query.add("until", self.until);
        Ok(query)
    }
}

pub async fn run_audit(
    command: AuditCommand,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    match command {
        AuditCommand::List(args) => {
            let client = args.remote.connect(screen)?;
            let query = args.filter.query(&client).await?;
            let found = client.list_pages("/audit", &query, args.limit).await?;
            Ok(screen.print_list(COLUMNS, &found, "no such calls")?)
        }
        AuditCommand::Export(args) => {
            let client = args.remote.connect(screen)?;
            let query = args.filter.query(&client).await?;
            client.copy_to_screen(&format!("/audit/export{query}"), screen).await
        }
    }
}
