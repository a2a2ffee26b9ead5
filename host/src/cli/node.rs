//! `waybill node …`

use clap::{Args, Subcommand};

use super::client::{QueryParameters, RemoteServer};
use super::screen::ListColumn;
use super::{CliError, CommandScreen};

const COLUMNS: &[ListColumn] = &[
    ("id", &["/id"]),
    ("address", &["/address"]),
    ("version", &["/version"]),
    ("started", &["/started_at"]),
    ("seen", &["/seen_at"]),
    ("skew ms", &["/clock_skew_ms"]),
    ("answers", &["/answers"]),
];

/// Largest number of nodes that are listed.
const MOST: usize = 1_000;

/// The subcommands of `waybill node`.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List the nodes that share the server's database.
    List(NodeListArgs),
}

/// Arguments of `waybill node list`.
#[derive(Debug, Args)]
pub struct NodeListArgs {
    #[command(flatten)]
    remote: RemoteServer,
}

pub async fn run_node(
    command: NodeCommand,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let NodeCommand::List(NodeListArgs { remote }) = command;
    let client = remote.connect(screen)?;
    let found = client.list_pages("/nodes", &QueryParameters::default(), MOST).await?;
    Ok(screen.print_list(COLUMNS, &found, "no running nodes")?)
}
