//! `waybill key …`: the key that encrypts stored secrets.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{CliError, CommandScreen};
use crate::config::{Config, EnvironmentPair, KeyOverride};
use crate::crypto::seal::SecretSealer;
use crate::error_chain::error_chain;
use crate::server::{KEY_FILE, NEXT_KEY_FILE, read_key};
use crate::settings::sealed::{KeyChange, change_key};
use crate::store::{EventStore, RunningNode, StoreOpening};
use crate::time::clock::Clock;

/// The file to which the present key moves when another one replaces it. Earlier backups need it.
const OLD_KEY_FILE: &str = "waybill.key.old";

/// The subcommands of `waybill key`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Encrypt all stored secrets with another key. On SQLite the server must not run. On
    /// PostgreSQL all nodes keep running, and must know the other key beforehand.
    Rotate(RotateKeyArgs),
}

/// Arguments of `waybill key rotate`.
#[derive(Debug, Args)]
pub struct RotateKeyArgs {
    /// Configuration file (TOML) of the server.
    #[arg(long, value_name = "FILE", env = "WAYBILL_CONFIG")]
    config: Option<PathBuf>,
    /// Database [default: sqlite:waybill.db].
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Print JSON on a terminal too.
    #[arg(long)]
    json: bool,
}

/// Changes the key of the database that `serve` would use with this configuration.
pub async fn run_key(
    command: &KeyCommand,
    environment: Vec<EnvironmentPair>,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let KeyCommand::Rotate(args) = command;
    screen.force_json(args.json);
    let given = args.database.clone();
    let given = given.map(|value| KeyOverride { key: "database.url", flag: "--database", value });
    let overrides: Vec<KeyOverride> = given.into_iter().collect();
    let config = Config::load(args.config.as_deref(), environment, &overrides)
        .map_err(|error| CliError::Usage(error_chain(&error)))?;
    let folder = config.data_dir();
    let next = next_key(&config, &folder)?;
    let both = read_key(&config, &folder).map_err(failed)?;
    let (store, _outlets) =
        EventStore::open(config.database.url.expose(), Clock::System, StoreOpening::default())
            .await
            .map_err(failed)?;
    let changed = rotate_key(&store, &both, &next).await;
    store.leave_process().await.map_err(failed)?;
    let KeyChange { objects, unreadable } = changed?;
    let has_files = config.secret_key.is_none();
    if has_files {
        replace_key_file(&folder)?;
    }
    let next = if has_files {
        format!(
            "{KEY_FILE} is the new key, and {OLD_KEY_FILE} the old one, which earlier backups need. Other \
             nodes: replace {KEY_FILE} by {NEXT_KEY_FILE} and restart them, one after the other"
        )
    } else {
        "start every node with the new key as WAYBILL_SECRET_KEY and without WAYBILL_SECRET_KEY_NEXT, one after \
         the other"
            .to_owned()
    };
    let lost = match unreadable.len() {
        0 => String::new(),
        _ => format!(
            "\nNeither key could read these; enter their secrets again: {}",
            unreadable.join(", ")
        ),
    };
    let said = format!("{objects} objects are encrypted with the new key.{lost}\nnext: {next}");
    let answer = json!({"objects": objects, "unreadable": unreadable, "next": next});
    Ok(screen.print_outcome(said, &answer)?)
}

fn failed(error: impl std::error::Error + 'static) -> CliError {
    CliError::failed(error_chain(&error))
}

/// Returns the new key. Creates a key file if the keys are in files.
fn next_key(config: &Config, folder: &Path) -> Result<SecretSealer, CliError> {
    match (&config.secret_key, &config.next_secret_key) {
        (None, None) => SecretSealer::from_file(&folder.join(NEXT_KEY_FILE)).map_err(failed),
        (Some(_), Some(next)) => Ok(SecretSealer::from_secret(next)),
        (Some(_), None) => Err(CliError::Usage(
            "set WAYBILL_SECRET_KEY_NEXT to the new key, here and on every node".to_owned(),
        )),
        (None, Some(_)) => Err(CliError::Usage(
            "WAYBILL_SECRET_KEY_NEXT is set, but the present key is in a file: set WAYBILL_SECRET_KEY to the text \
             of that file too"
                .to_owned(),
        )),
    }
}

/// Encrypts everything again, unless a running node could then not read it.
async fn rotate_key(
    store: &EventStore,
    both: &SecretSealer,
    next: &SecretSealer,
) -> Result<KeyChange, CliError> {
    let without = store.list_nodes_without_key(next.key_mark()).await.map_err(failed)?;
    if !without.is_empty() {
        let address = |node: &RunningNode| node.address.clone().unwrap_or_default();
        let addresses: Vec<String> = without.iter().map(address).collect();
        let what = format!("these nodes do not know the new key: {}", addresses.join(", "));
        let next = format!(
            "restart each with WAYBILL_SECRET_KEY_NEXT, or with the file {NEXT_KEY_FILE} in its data folder, and \
             run this again"
        );
        return Err(CliError::with_next(what, next));
    }
    change_key(store, both, next).await.map_err(failed)
}

fn replace_key_file(folder: &Path) -> Result<(), CliError> {
    let [present, next, old] =
        [KEY_FILE, NEXT_KEY_FILE, OLD_KEY_FILE].map(|name| folder.join(name));
    // The copy comes first, so that there is a key at every moment.
    std::fs::copy(&present, &old).map_err(CliError::writing(&old))?;
    std::fs::rename(&next, &present).map_err(CliError::writing(&present))
}
