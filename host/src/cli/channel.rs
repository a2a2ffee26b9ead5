//! `waybill channel …`: describes the kinds of endpoints of this program.

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

/// The subcommands of `waybill channel`.
#[derive(Debug, Subcommand)]
pub enum ChannelCommand {
    /// List the kinds of endpoints. As JSON the list includes the schemas of their settings.
    List(ChannelListArgs),
}

/// Arguments of `waybill channel list`.
#[derive(Debug, Args)]
pub struct ChannelListArgs {
    /// Print JSON on a terminal too.
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
