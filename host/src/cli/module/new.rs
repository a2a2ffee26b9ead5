//! `waybill module new`: writes a project that builds and passes its test.

use std::path::{Path, PathBuf};

use clap::Args;

use super::project::ProjectLanguage;
use super::scaffold;
use crate::catalog;
use crate::cli::{CliError, CommandScreen};

/// Arguments of `waybill module new`.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Name of the module and of its directory: lower-case letters, digits and hyphens.
    name: String,
    /// Language of the project.
    #[arg(long, value_enum, default_value_t = ProjectLanguage::Rust)]
    lang: ProjectLanguage,
    /// Use the Rust SDK in this directory instead of a copy.
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
        Some(_) if args.lang != ProjectLanguage::Rust => {
            let said = "--sdk is for Rust; other projects have a copy of their SDK in .waybill";
            return Err(CliError::Usage(said.to_owned()));
        }
        Some(sdk) => Some(sdk_at(sdk)?),
        None => None,
    };
    for (path, text) in files(name, args.lang, sdk.as_deref()) {
        write_files(&folder.join(path), &text)?;
    }
    let (folder, source) = (folder.display(), scaffold::source(args.lang));
    screen.print_line(format!(
        "created {folder}: {source} is the module, event.json an event to try it on"
    ))?;
    screen
        .print_line(format!("next: cd {folder} && waybill module test && waybill module build"))?;
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
fn files(name: &str, language: ProjectLanguage, sdk: Option<&Path>) -> Vec<(String, String)> {
    let event = catalog::get().find("invoice.paid").map(catalog::EventType::example_event);
    let event = serde_json::to_string_pretty(&event).unwrap_or_default();
    let mut files = scaffold::project_files(name, language, sdk);
    files.extend([
        ("waybill.manifest.toml".to_owned(), scaffold::module_manifest(name)),
        ("event.json".to_owned(), event + "\n"),
        ("README.md".to_owned(), scaffold::readme(name, language)),
    ]);
    if sdk.is_none() {
        files.extend(scaffold::sdk_files(language));
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

    fn new_args(lang: ProjectLanguage, folder: &Path) -> NewArgs {
        NewArgs { name: "my-module".into(), lang, sdk: None, path: folder.into() }
    }

    #[test]
    fn a_project_in_another_language_holds_all_it_needs() {
        let shared = ["waybill.manifest.toml", "event.json", "README.md", ".waybill/wit/types.wit"];
        let typescript = [
            "package.json",
            "package-lock.json",
            "tsconfig.json",
            "src/module.ts",
            "test/module.test.ts",
            "test/tsconfig.json",
            ".waybill/guest-sdk-ts/build.mjs",
        ];
        let python = [
            "module.py",
            "test_module.py",
            "requirements.txt",
            "pyproject.toml",
            ".waybill/guest-sdk-python/build.py",
            ".waybill/guest-sdk-python/waybill/state.py",
        ];
        let folder = tempfile::tempdir().unwrap();
        for (lang, own) in
            [(ProjectLanguage::TypeScript, &typescript[..]), (ProjectLanguage::Python, &python)]
        {
            let place = folder.path().join(lang.sdk());
            run_new(&new_args(lang, &place), &mut CommandScreen::new(&mut Vec::new(), true))
                .unwrap();
            let project = place.join("my-module");
            for file in shared.iter().chain(own) {
                let text = std::fs::read_to_string(project.join(file));
                let text = text.unwrap_or_else(|error| panic!("{file}: {error}"));
                let of_the_example = ["../../guest-sdk", "tally", "pii-mask"];
                let left = of_the_example.iter().find(|word| text.contains(**word));
                assert_eq!(left, None, "{file}");
            }
            assert!(!project.join(".waybill/guest-sdk").exists());
        }
    }

    #[test]
    fn a_project_holds_all_it_needs() {
        let folder = tempfile::tempdir().unwrap();
        let args = new_args(ProjectLanguage::Rust, folder.path());
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
            ".gitignore",
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
