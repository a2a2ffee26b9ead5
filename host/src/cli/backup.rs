//! `waybill backup`: copies the SQLite database while the server runs, or when it does not.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::{CliError, CommandScreen};
use crate::config::{Config, EnvironmentPair, KeyOverride};
use crate::error_chain::error_chain;
use crate::store::copy_database;

/// Arguments of `waybill backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// File to create. An existing file is not overwritten.
    file: PathBuf,
    /// Copy the key file to FILE.key as well. With both files anybody can read the stored secrets.
    #[arg(long)]
    with_key: bool,
    /// Configuration file (TOML) of the server.
    #[arg(long, value_name = "FILE", env = "WAYBILL_CONFIG")]
    config: Option<PathBuf>,
    /// Database, `sqlite:FILE` [default: sqlite:waybill.db].
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Print JSON on a terminal too.
    #[arg(long)]
    json: bool,
}

/// Copies the database that `serve` would use with this configuration.
pub async fn run_backup(
    args: &BackupArgs,
    environment: Vec<EnvironmentPair>,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    screen.force_json(args.json);
    let given = args.database.clone();
    let given = given.map(|value| KeyOverride { key: "database.url", flag: "--database", value });
    let overrides: Vec<KeyOverride> = given.into_iter().collect();
    let config = Config::load(args.config.as_deref(), environment, &overrides)
        .map_err(|error| CliError::Usage(error_chain(&error)))?;
    if !config.database.url.is_sqlite() {
        let what = format!("{} is not an SQLite database", config.database.url);
        return Err(CliError::with_next(what, "copy a PostgreSQL database with pg_dump"));
    }
    let key = if args.with_key { Some(read_key(&config)?) } else { None };
    let (url, target) = (config.database.url.expose().to_owned(), args.file.clone());
    let copied = tokio::task::spawn_blocking(move || copy_database(&url, &target)).await;
    let size = copied.map_err(|error| CliError::failed(error.to_string()))?.map_err(|error| {
        CliError::failed(format!("no backup was made: {}", error_chain(&error)))
    })?;
    let key_file = key.map(|key| write_key(&args.file, &key)).transpose()?;
    let shown = args.file.display();
    let said = match &key_file {
        Some(key) => format!("{shown}: {size} bytes; the key is in {}", key.display()),
        None => format!(
            "{shown}: {size} bytes\nThe key is not in it. Stored secrets can be read only with \
             waybill.key or WAYBILL_SECRET_KEY: keep that in another place (--with-key copies the file)."
        ),
    };
    let answer = json!({"file": args.file, "bytes": size, "key_file": key_file});
    Ok(screen.print_outcome(said, &answer)?)
}

fn read_key(config: &Config) -> Result<Vec<u8>, CliError> {
    if config.secret_key.is_some() {
        let message = "the key is in WAYBILL_SECRET_KEY, not in a file: leave out --with-key";
        return Err(CliError::Usage(message.to_owned()));
    }
    let file = config.data_dir().join("waybill.key");
    std::fs::read(&file).map_err(CliError::reading(&file))
}

fn write_key(backup: &Path, key: &[u8]) -> Result<PathBuf, CliError> {
    let mut name = OsString::from(backup);
    name.push(".key");
    let path = PathBuf::from(name);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(&path).map_err(CliError::writing(&path))?;
    file.write_all(key).and_then(|()| file.sync_all()).map_err(CliError::writing(&path))?;
    Ok(path)
}
