//! Modules of a document: the versions that must exist, and those that become active.

use super::document::ModuleChoice;
use crate::api::modules::lost_roles;
use crate::api::problem::ApiProblem;
use crate::store::modules::ModuleVersion;

/// The result of one choice.
pub struct ChosenVersion<'v> {
    pub name: &'v str,
    /// The version to activate, if it is not active yet.
    pub activate: Option<u32>,
    /// Whether the version is missing, and will be uploaded before the real run.
    pub missing: bool,
    pub warning: Option<String>,
    /// The chosen version, unless it is missing.
    pub wanted: Option<&'v ModuleVersion>,
    /// The version that was active before.
    pub before: Option<&'v ModuleVersion>,
}

/// Finds the version of each choice. In a dry run a version that is named by its digest may be
/// missing. `is_pinned` says whether a flow of the document names a version by its number.
pub fn choose_versions<'v>(
    choices: &'v [ModuleChoice],
    is_pinned: impl Fn(&str, u32) -> bool,
    versions: &'v [ModuleVersion],
    dry_run: bool,
) -> Result<Vec<ChosenVersion<'v>>, ApiProblem> {
    let mut chosen = Vec::new();
    for (n, choice) in choices.iter().enumerate() {
        let twice = choices.iter().take(n).any(|c| c.active && c.name == choice.name);
        if choice.active && twice {
            let message = "another version of this module is already chosen as the active one; set `active: false` for one of them";
            return Err(ApiProblem::fault(format!("modules[{n}]"), message));
        }
        let by_number = choice.sha256.is_none()
            || !choice.active
            || choice.version.is_some_and(|number| is_pinned(&choice.name, number));
        let fits = |version: &&ModuleVersion| is_wanted_version(choice, version, by_number);
        let mine = versions.iter().filter(|v| v.name == choice.name);
        let active = mine.clone().find(|v| v.active);
        let newest = mine.clone().filter(fits).max_by_key(|v| v.version);
        let Some(wanted) = active.filter(fits).or(newest) else {
            if dry_run && choice.sha256.is_some() && !is_taken(choice, versions) {
                let (name, activate, missing) = (choice.name.as_str(), None, true);
                let (warning, wanted) = (None, None);
                chosen.push(ChosenVersion {
                    name,
                    activate,
                    missing,
                    warning,
                    wanted,
                    before: active,
                });
                continue;
            }
            return Err(ApiProblem::fault(
                format!("modules[{n}]"),
                missing_message(choice, versions),
            ));
        };
        let changes = choice.active && !wanted.active;
        chosen.push(ChosenVersion {
            name: &choice.name,
            activate: changes.then_some(wanted.version),
            missing: false,
            warning: active.filter(|_| changes).and_then(|active| lost_roles(active, wanted)),
            wanted: Some(wanted),
            before: active,
        });
    }
    Ok(chosen)
}

/// Returns whether a version is the chosen one. Servers number their uploads differently, so the
/// digest alone decides which component runs. A pinned version must have the right number too,
/// because flows pin by number.
fn is_wanted_version(choice: &ModuleChoice, version: &ModuleVersion, by_number: bool) -> bool {
    let number = choice.version.is_none_or(|number| !by_number || version.version == number);
    let digest = choice
        .sha256
        .as_ref()
        .is_none_or(|sha256| hex::encode(version.sha256).eq_ignore_ascii_case(sha256));
    number && digest
}

/// Returns whether another component has the number that the choice asks for.
fn is_taken(choice: &ModuleChoice, versions: &[ModuleVersion]) -> bool {
    versions.iter().any(|v| v.name == choice.name && Some(v.version) == choice.version)
}

fn missing_message(choice: &ModuleChoice, versions: &[ModuleVersion]) -> String {
    let name = &choice.name;
    let upload = "upload it first, or have `waybill apply` do it by a `path`";
    match (choice.version, &choice.sha256) {
        (Some(number), Some(sha256)) if is_taken(choice, versions) => format!(
            "version {number} of module `{name}` has another component here than {sha256}; flows that pin it would run something else"
        ),
        (Some(number), Some(sha256)) => format!(
            "this server has no version {number} of module `{name}` with the component {sha256}; {upload}"
        ),
        (None, Some(sha256)) => {
            format!("this server has no component {sha256} of module `{name}`; {upload}")
        }
        (Some(number), None) => format!("module `{name}` has no version {number}; {upload}"),
        (None, None) => format!("there is no module `{name}`; {upload}"),
    }
}
