//! `waybill module new`: writes a project that builds and passes its test.

use std::path::{Path, PathBuf};

use clap::Args;

use super::scaffold;
use crate::catalog;
use crate::cli::{CliError, CommandScreen};

/// Arguments of `waybill module new`.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Name of the module and of its directory: lower-case letters, digits and hyphens.
    name: String,
    /// Use the SDK in this directory instead of a copy.
    #[arg(long, value_name = "PATH")]
    sdk: Option<PathBuf>,
    /// Folder in which the project's directory is created.
    #[arg(long, value_name = "PATH", default_value = ".")]
    path: PathBuf,
}

pub fn run_new(args: &NewArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    let name = &args.name;
    if !is_crate_name(name) {
        return Err(CliError::Usage(format!(
            "{name}: a module's name is lower-case letters, digits and hyphens, and begins with a letter"
        )));
    }
    let folder =
        if args.path == Path::new(".") { PathBuf::from(name) } else { args.path.join(name) };
    if folder.exists() {
        return Err(CliError::with_next(
            format!("{} already exists", folder.display()),
            "choose another name, or another place with --path",
        ));
    }
    let sdk = match &args.sdk {
        Some(sdk) => Some(sdk_at(sdk)?),
        None => None,
    };
    for (path, text) in files(name, sdk.as_deref()) {
        write_files(&folder.join(path), &text)?;
    }
    let folder = folder.display();
    screen.print_line(format!(
        "created {folder}: src/lib.rs is the module, event.json an event to try it on"
    ))?;
    screen.print_line(format!("next: cd {folder} && cargo test && waybill module build"))?;
    Ok(())
}

fn is_crate_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !name.ends_with('-')
        && name.len() <= 64
}

fn sdk_at(path: &Path) -> Result<PathBuf, CliError> {
    let path = path.canonicalize().map_err(CliError::reading(path))?;
    if path.join("Cargo.toml").is_file() {
        return Ok(path);
    }
    let what = format!("{} does not contain a Cargo.toml", path.display());
    Err(CliError::with_next(what, "give the directory of the waybill-guest crate"))
}

/// Returns every file of the project, including a copy of the SDK unless one is given.
fn files(name: &str, sdk: Option<&Path>) -> Vec<(String, String)> {
    let path = sdk.map_or_else(|| ".waybill/guest-sdk".to_owned(), |sdk| sdk.display().to_string());
    let event = catalog::get().find("invoice.paid").map(catalog::EventType::example_event);
    let event = serde_json::to_string_pretty(&event).unwrap_or_default();
    let mut files = vec![
        ("Cargo.toml".to_owned(), scaffold::manifest(name, &path)),
        ("waybill.manifest.toml".to_owned(), scaffold::module_manifest(name)),
        ("src/lib.rs".to_owned(), scaffold::LIB.to_owned()),
        ("event.json".to_owned(), event + "\n"),
        ("README.md".to_owned(), scaffold::readme(name)),
        (".gitignore".to_owned(), "/target\n".to_owned()),
    ];
    if sdk.is_none() {
        let copy = |(path, text): &(&str, &str)| (format!(".waybill/{path}"), (*text).to_owned());
        files.extend(scaffold::SDK.iter().map(copy));
    }
    files
}

fn write_files(path: &Path, text: &str) -> Result<(), CliError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(CliError::writing(folder))?;
    }
    std::fs::write(path, text).map_err(CliError::writing(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_crate_names() {
        for good in ["hot-leads", "a", "x2"] {
            assert!(is_crate_name(good), "{good}");
        }
        for bad in ["", "Hot", "2x", "a b", "a_b", "../x", "a-"] {
            assert!(!is_crate_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_project_holds_all_it_needs() {
        let folder = tempfile::tempdir().unwrap();
        let args = NewArgs { name: "my-module".into(), sdk: None, path: folder.path().into() };
        let mut out = Vec::new();
        run_new(&args, &mut CommandScreen::new(&mut out, true)).unwrap();
        let project = folder.path().join("my-module");
        for file in [
            "Cargo.toml",
            "src/lib.rs",
            "waybill.manifest.toml",
            "event.json",
            "README.md",
            ".waybill/guest-sdk/Cargo.toml",
            ".waybill/guest-sdk/src/lib.rs",
            ".waybill/wit/types.wit",
        ] {
            assert!(project.join(file).is_file(), "{file}");
        }
        let manifest =
            std::fs::read_to_string(project.join(".waybill/guest-sdk/Cargo.toml")).unwrap();
        let manifest: toml::Table = toml::from_str(&manifest).unwrap();
        assert!(!manifest.to_string().contains("workspace"), "{manifest}");
        let own = crate::cli::input::read_document(&project.join("waybill.manifest.toml")).unwrap();
        let own = crate::model::module_manifest::ModuleManifest::from_value(&own).unwrap();
        assert_eq!((own.name.as_str(), own.capabilities.is_empty()), ("my-module", true));
        assert!(String::from_utf8(out).unwrap().contains("next: cd "));
        let again = run_new(&args, &mut CommandScreen::new(&mut Vec::new(), true)).unwrap_err();
        assert!(again.to_string().contains("already exists"));
    }
}
