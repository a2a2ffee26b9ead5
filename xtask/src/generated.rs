//! Generated files. They are committed, so that a reader finds them, and `ci` fails if they are out
//! of date.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::process::{command, output, workspace};
use crate::test::Built;
use crate::{api_page, configuration_page, events, objects_page};

/// A generated file and its expected text.
#[derive(Debug)]
struct Generated {
    path: PathBuf,
    text: String,
}

/// Writes every generated file. Builds the tests too, because a build of the program alone would
/// compile 90 crates again with other features.
pub(crate) async fn write() -> Result<()> {
    for file in files(Built::with_tests().await?).await? {
        if let Some(folder) = file.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        if std::fs::read_to_string(&file.path).ok().as_ref() != Some(&file.text) {
            std::fs::write(&file.path, &file.text)?;
            println!("wrote {}", file.path.display());
        }
    }
    Ok(())
}

/// Fails if a generated file is out of date, and names it.
pub(crate) async fn check() -> Result<()> {
    let files = files(Built::with_tests().await?).await?;
    let stale =
        |file: &&Generated| std::fs::read_to_string(&file.path).ok().as_ref() != Some(&file.text);
    let stale: Vec<_> =
        files.iter().filter(stale).map(|file| file.path.display().to_string()).collect();
    if !stale.is_empty() {
        bail!("not current: {}; `cargo xtask gen` writes them", stale.join(", "));
    }
    Ok(())
}

async fn files(built: Built) -> Result<Vec<Generated>> {
    let openapi = output(built.program(&["openapi"])).await?;
    let catalogue = output(built.program(&["event-type", "list", "--json"])).await?;
    let types = built.path().with_file_name("waybill-module-types");
    let types = output(command(types, &["wit"])).await?;
    let docs = workspace().join("docs");
    let settings = std::fs::read_to_string(workspace().join("waybill.example.toml"))?;
    Ok(vec![
        Generated { path: docs.join("api.md"), text: api_page::page(&openapi)? },
        Generated {
            path: docs.join("configuration.md"),
            text: configuration_page::page(&settings)?,
        },
        Generated { path: docs.join("objects.md"), text: objects_page::page(&openapi)? },
        Generated { path: docs.join("openapi.json"), text: openapi },
        Generated { path: docs.join("events.md"), text: events::page(&catalogue)? },
        Generated { path: workspace().join("guest-sdk-ts/host.d.ts"), text: types },
    ])
}
