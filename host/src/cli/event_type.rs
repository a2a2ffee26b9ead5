//! `waybill event-type …`: describes the catalogue of this program.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::screen::ListColumn;
use super::{CliError, CommandScreen};
use crate::catalog;

const COLUMNS: &[ListColumn] = &[("type", &["/name"]), ("what happened", &["/description"])];

/// The subcommands of `waybill event-type`.
#[derive(Debug, Subcommand)]
pub enum EventTypeCommand {
    /// List event types.
    List(TypeListArgs),
    /// Show an event type with its JSON Schema and example.
    Show(TypeShowArgs),
}

/// Arguments of `waybill event-type list`.
#[derive(Debug, Args)]
pub struct TypeListArgs {
    /// Event types of this resource, such as invoice.
    #[arg(long)]
    resource: Option<String>,
    /// Print JSON on a terminal too.
    #[arg(long)]
    json: bool,
}

/// Arguments of `waybill event-type show`.
#[derive(Debug, Args)]
pub struct TypeShowArgs {
    /// Name of the event type, such as invoice.paid.
    name: String,
    /// Only print the example, as an event for `module run` and `event send`.
    #[arg(long)]
    example: bool,
    /// Print JSON on a terminal too.
    #[arg(long)]
    json: bool,
}

pub fn run_event_type(
    command: EventTypeCommand,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    match command {
        EventTypeCommand::List(args) => list_event_types(&args, screen),
        EventTypeCommand::Show(args) => show_event_type(&args, screen),
    }
}

fn list_event_types(args: &TypeListArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    screen.force_json(args.json);
    let wanted = |known: &&catalog::EventType| {
        args.resource.as_deref().is_none_or(|resource| known.resource == resource)
    };
    let found: Vec<Value> =
        catalog::get().event_types().iter().filter(wanted).map(value).collect::<Result<_, _>>()?;
    Ok(screen.print_list(COLUMNS, &found, "no event type of that resource")?)
}

fn show_event_type(args: &TypeShowArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    screen.force_json(args.json);
    let Some(known) = catalog::get().find(&args.name) else {
        let near = catalog::get().nearest(&args.name);
        let hint = near.map_or_else(
            || "see `waybill event-type list`".to_owned(),
            |near| format!("was `{near}` meant?"),
        );
        return Err(CliError::with_next(format!("there is no event type {}", args.name), hint));
    };
    if args.example {
        return Ok(screen.print_json(&known.example_event())?);
    }
    Ok(screen.print_object(&value(known)?)?)
}

fn value(known: &catalog::EventType) -> Result<Value, CliError> {
    serde_json::to_value(known).map_err(|error| CliError::failed(error.to_string()))
}
