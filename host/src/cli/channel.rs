//! `waybill channel …`, from the kinds of this program.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::screen::ListColumn;
use super::{CliError, CommandScreen};
use crate::api::channels::ChannelView;
use crate::channels::CHANNELS;

const COLUMNS: &[ListColumn] = &[
    ("kind", &["/kind"]),
    ("label", &["/label"]),
    ("url", &["/url_schemes"]),
    ("delivered when", &["/delivered_when"]),
];

/// What can be asked about kinds of endpoints.
#[derive(Debug, Subcommand)]
pub enum ChannelCommand {
    /// List the kinds of endpoints; as JSON with the schemas of their settings.
    List(ChannelListArgs),
}

/// A list of kinds of endpoints.
#[derive(Debug, Args)]
pub struct ChannelListArgs {
    /// Print JSON, on a terminal too.
    #[arg(long)]
    json: bool,
}

pub fn run_channel(
    command: &ChannelCommand,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let ChannelCommand::List(ChannelListArgs { json }) = command;
    screen.force_json(*json);
    let value = |channel| serde_json::to_value(ChannelView::new(channel));
    let found: Result<Vec<Value>, _> = CHANNELS.iter().map(value).collect();
    let found = found.map_err(|error| CliError::failed(error.to_string()))?;
    Ok(screen.print_list(COLUMNS, &found, "this program knows no kind of endpoint")?)
}
