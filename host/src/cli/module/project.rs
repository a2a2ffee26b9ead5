//! A module project: its language, and the SDK that it uses.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::cli::CliError;

/// The languages of module projects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProjectLanguage {
    /// Rust.
    Rust,
    /// TypeScript.
    #[value(name = "ts", alias = "typescript", help = "TypeScript, run by QuickJS")]
    TypeScript,
    /// Python.
    #[value(help = "Python, run by CPython")]
    Python,
}

impl ProjectLanguage {
    const ALL: [Self; 3] = [Self::Rust, Self::TypeScript, Self::Python];

    /// Returns the file that a project of the language has.
    const fn mark(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::TypeScript => "package.json",
            Self::Python => "module.py",
        }
    }

    /// Returns the name of the SDK's folder.
    pub const fn sdk(self) -> &'static str {
        match self {
            Self::Rust => "guest-sdk",
            Self::TypeScript => "guest-sdk-ts",
            Self::Python => "guest-sdk-python",
        }
    }

    /// Returns the language of the project in a folder.
    pub fn find(project: &Path) -> Result<Self, CliError> {
        let found = Self::ALL.into_iter().find(|one| project.join(one.mark()).is_file());
        found.ok_or_else(|| {
            let what = format!("{} is not a module project", project.display());
            let marks = Self::ALL.map(Self::mark).join(", ");
            let next = format!(
                "give a folder with one of {marks}, or make one with `waybill module new NAME`"
            );
            CliError::with_next(what, next)
        })
    }

    /// Returns the SDK of a project: in its folder `.waybill`, or beside a folder above it, as in
    /// Waybill's repository.
    pub fn find_sdk(self, project: &Path) -> Result<PathBuf, CliError> {
        let project = project.canonicalize().map_err(CliError::reading(project))?;
        let own = project.join(".waybill").join(self.sdk());
        let above = project.ancestors().map(|folder| folder.join(self.sdk()));
        std::iter::once(own).chain(above).find(|folder| folder.is_dir()).ok_or_else(|| {
            let what = format!("{} has no SDK in .waybill/{}", project.display(), self.sdk());
            CliError::with_next(what, "copy .waybill from a project that `waybill module new` made")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_projects_language_is_found_by_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let refused = ProjectLanguage::find(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("Cargo.toml, package.json, module.py"), "{refused}");
        for language in ProjectLanguage::ALL {
            let project = folder.path().join(language.sdk());
            std::fs::create_dir(&project).unwrap();
            std::fs::write(project.join(language.mark()), "").unwrap();
            assert_eq!(ProjectLanguage::find(&project).unwrap(), language);
        }
    }

    #[test]
    fn the_sdk_is_in_the_project_or_above() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let project = root.join("examples/a");
        std::fs::create_dir_all(&project).unwrap();
        let language = ProjectLanguage::Python;
        assert!(language.find_sdk(&project).unwrap_err().to_string().contains("no SDK"));
        for place in [root.join("guest-sdk-python"), project.join(".waybill/guest-sdk-python")] {
            std::fs::create_dir_all(&place).unwrap();
            assert_eq!(language.find_sdk(&project).unwrap(), place);
        }
    }
}
