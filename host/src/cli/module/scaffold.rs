//! The files of a new module project.

use std::path::Path;

use super::project::ProjectLanguage;

/// The SDKs and the interface from which it is made, as path and text. The build script collects
/// them.
pub const SDK: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// Returns the project's `Cargo.toml`.
fn manifest(name: &str, sdk: &str) -> String {
    format!(
        r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"
publish = false

[lib]
crate-type = ["cdylib"]

[dependencies]
serde = {{ version = "1", features = ["derive"] }}
waybill-guest = {{ path = {sdk:?} }}

[dev-dependencies]
serde_json = "1"

[profile.release]
opt-level = 3
lto = "fat"
codegen-units = 1
panic = "abort"
strip = true

# A workspace of its own, wherever it lies.
[workspace]
"#
    )
}

/// Reads a file of an example, whose pins new projects share.
macro_rules! example {
    ($path:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../", $path))
    };
}

/// The files of a Rust project.
const RUST: &[(&str, &str)] =
    &[("src/lib.rs", include_str!("scaffold/lib.rs.txt")), (".gitignore", "/target\n")];

/// The files of a TypeScript project.
const TYPESCRIPT: &[(&str, &str)] = &[
    ("package.json", example!("examples-ts/tally/package.json")),
    ("package-lock.json", example!("examples-ts/tally/package-lock.json")),
    ("tsconfig.json", example!("examples-ts/tally/tsconfig.json")),
    ("src/module.ts", include_str!("scaffold/typescript/module.ts.txt")),
    ("test/module.test.ts", include_str!("scaffold/typescript/module.test.ts.txt")),
    ("test/tsconfig.json", example!("examples-ts/tally/test/tsconfig.json")),
    (".gitignore", example!("examples-ts/tally/.gitignore")),
];

/// The files of a Python project.
const PYTHON: &[(&str, &str)] = &[
    ("module.py", include_str!("scaffold/python/module.py.txt")),
    ("test_module.py", include_str!("scaffold/python/test_module.py.txt")),
    ("requirements.txt", example!("examples-python/pii-mask/requirements.txt")),
    ("pyproject.toml", example!("examples-python/pii-mask/pyproject.toml")),
    (".gitignore", example!("examples-python/pii-mask/.gitignore")),
];

/// Returns the file with the author's code.
pub const fn source(language: ProjectLanguage) -> &'static str {
    match language {
        ProjectLanguage::Rust => "src/lib.rs",
        ProjectLanguage::TypeScript => "src/module.ts",
        ProjectLanguage::Python => "module.py",
    }
}

/// Returns the files of a project that depend on its language, as path and text: a filter and a
/// transform with a test.
pub fn project_files(
    name: &str,
    language: ProjectLanguage,
    sdk: Option<&Path>,
) -> Vec<(String, String)> {
    let (files, example) = match language {
        ProjectLanguage::Rust => (RUST, None),
        ProjectLanguage::TypeScript => (TYPESCRIPT, Some("\"tally\"")),
        ProjectLanguage::Python => (PYTHON, Some("\"pii-mask\"")),
    };
    let own = |(path, text): &(&str, &str)| {
        let text = text.replace("../../guest-sdk", "./.waybill/guest-sdk");
        let text =
            example.map_or_else(|| text.clone(), |old| text.replace(old, &format!("{name:?}")));
        ((*path).to_owned(), text)
    };
    let mut files: Vec<_> = files.iter().map(own).collect();
    if language == ProjectLanguage::Rust {
        let sdk = sdk.map_or_else(|| ".waybill/guest-sdk".into(), |sdk| sdk.display().to_string());
        files.push(("Cargo.toml".to_owned(), manifest(name, &sdk)));
    }
    files
}

/// Returns the copies of the language's SDK and of the interface, as path and text.
pub fn sdk_files(language: ProjectLanguage) -> impl Iterator<Item = (String, String)> {
    let is_used = move |(path, _): &&(&str, &str)| {
        let folder = path.split('/').next().unwrap_or_default();
        folder == language.sdk() || folder == "wit"
    };
    let copy = |(path, text): &(&str, &str)| (format!(".waybill/{path}"), (*text).to_owned());
    SDK.iter().filter(is_used).map(copy)
}

/// Returns the module's manifest, which `waybill module build` embeds into the component.
pub fn module_manifest(name: &str) -> String {
    format!(
        r#"name = "{name}"
version = "0.1.0"
description = "Passes invoices of at least the configured total and reports the payment."

# The configuration that a flow gives it, as a JSON Schema. The server refuses what does not fit.
[config]
type = "object"

[config.properties]
least = {{ type = ["string", "number"], description = "The smallest total, such as 100.00.", default = "0.00" }}

# What it may call, if whoever activates it approves.
[capabilities]
# http = ["api.example.com"]
# secrets = ["enrich"]
"#
    )
}

/// Returns the project's README.
pub fn readme(name: &str, language: ProjectLanguage) -> String {
    let file = match language {
        ProjectLanguage::Rust => {
            format!("target/wasm32-wasip2/release/{}.wasm", name.replace('-', "_"))
        }
        ProjectLanguage::TypeScript | ProjectLanguage::Python => format!("dist/{name}.wasm"),
    };
    let size = match language {
        ProjectLanguage::Rust | ProjectLanguage::TypeScript => "",
        ProjectLanguage::Python => {
            "\nThe component has 18 MB: the server's operator must raise `modules.max_component` to at least 19000000.\n"
        }
    };
    format!(
        "# {name}\n\n\
         A Waybill module: it lets invoices of at least the configured total through and says what was paid in a line.\n\n\
         - `waybill module test` tests it natively.\n\
         - `waybill module build` makes the component `{file}`.\n\
         - `waybill module run {file} --event event.json --config least=100` runs it on one event.\n\
         - `waybill module push --activate` uploads it.\n\
         - `waybill flow create {name} --events invoice.paid --modules {name} --endpoints ENDPOINT` puts it to work.\n\n\
         `waybill event-type list` names the events there are, `waybill event-type show TYPE --example` gives one to try.\n\
         {size}"
    )
}
