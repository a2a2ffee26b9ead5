//! The files of a new module project.

/// The SDK and the interface from which it is made, as path and text. The build script collects
/// them.
pub const SDK: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// Returns the project's `Cargo.toml`.
pub fn manifest(name: &str, sdk: &str) -> String {
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

/// The project's module: a filter and a transform.
pub const LIB: &str = include_str!("scaffold/lib.rs.txt");

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
pub fn readme(name: &str) -> String {
    let file = name.replace('-', "_");
    format!(
        "# {name}\n\n\
         A Waybill module: it lets invoices of at least the configured total through and says what was paid in a line.\n\n\
         - `cargo test` tests it natively.\n\
         - `waybill module build` makes the component `target/wasm32-wasip2/release/{file}.wasm`.\n\
         - `waybill module run target/wasm32-wasip2/release/{file}.wasm --event event.json --config least=100` runs it on one event.\n\
         - `waybill module push --activate` uploads it.\n\
         - `waybill flow create {name} --events invoice.paid --modules {name} --endpoints ENDPOINT` puts it to work.\n\n\
         `waybill event-type list` names the events there are, `waybill event-type show TYPE --example` gives one to try.\n"
    )
}
