//! Why the engine, or an upload, came to nothing.

use super::ModuleRole;
use crate::model::fault::InputFault;
use crate::model::module_manifest::HARD_COMPONENT;

/// The machine or the cache directory is at fault, never the module.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The pool could not be reserved or the host interfaces not be linked.
    #[error("the module engine could not start")]
    Start(#[source] wasmtime::Error),
    /// The cache directory cannot be used.
    #[error("the module cache at `{path}` cannot be used")]
    Cache {
        /// What was being read or written.
        path: std::path::PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The compiling process could not be started or spoken to.
    #[error("the module compiler could not be run")]
    Compiler(#[source] std::io::Error),
    /// File or compiler work ended early, as at a shutdown.
    #[error("the work was broken off")]
    BrokenOff(#[from] tokio::task::JoinError),
}

/// Why an upload was not admitted. All but [`ModuleRejection::Unavailable`] are for the module's
/// author to mend; the text says how.
#[derive(Debug, thiserror::Error)]
pub enum ModuleRejection {
    /// Larger than [`super::ModuleLimits::upload_bytes`].
    #[error(
        "the component has {size} bytes, the limit is {limit}: build it in release mode with \
         `opt-level = \"s\"` and `strip = true`, or have whoever runs the server raise \
         `modules.max_component` in its configuration, to {HARD_COMPONENT} at most"
    )]
    TooLarge {
        /// Bytes uploaded.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The bytes are something else.
    #[error(
        "this is not WebAssembly: a component begins with `\\0asm`. Upload the `.wasm` file itself"
    )]
    NotWasm,
    /// A core module.
    #[error(
        "this is a core module, not a component: build for the target `wasm32-wasip2`, or wrap it \
         with `wasm-tools component new`"
    )]
    CoreModule,
    /// The binary ends too early.
    #[error("the component is cut off after {offset} bytes: upload the whole file")]
    Truncated {
        /// Where it ends.
        offset: usize,
    },
    /// The binary is not valid.
    #[error("the component is not valid at byte {offset}: {message}")]
    Invalid {
        /// What is wrong there.
        message: String,
        /// Where.
        offset: usize,
    },
    /// Nothing that the host could call.
    #[error(
        "the component exports none of the roles {}: its exports are {exports}. \
         Build it against the WIT package waybill:module@0.1.0",
        ModuleRole::ALL_INTERFACES
    )]
    NoRole {
        /// What it exports instead, as a list.
        exports: String,
    },
    /// Something that the host does not provide.
    #[error(
        "the component imports `{import}`, which modules do not get: they may import \
         the capabilities of waybill:module@0.1 (log, config, state, records, http, secrets, emit, \
         deliveries, counters) and WASI 0.2 (cli, io, clocks, random, filesystem, sockets; all of \
         them empty)"
    )]
    UnknownImport {
        /// The first such import.
        import: String,
    },
    /// More of something than [`super::ModuleLimits`] allows.
    #[error("the component asks for {asked} {what}, the limit is {limit}")]
    OverLimit {
        /// Of what, in the plural.
        what: &'static str,
        /// How much it asks for.
        asked: u64,
        /// How much is allowed.
        limit: u64,
    },
    /// Its manifest cannot be read, or does not fit the component.
    #[error("the manifest of the component is wrong: {}", list_faults(.0))]
    Manifest(Vec<InputFault>),
    /// Its manifest asks for more than the operator allows.
    #[error(
        "the manifest asks for {asked} as `limits.{what}` (in bytes or milliseconds), this server allows \
         {allowed}: ask for less, or have whoever runs the server raise `modules.{setting}` in its \
         configuration, to {hard} at most"
    )]
    AsksTooMuch {
        /// The limit, as the manifest calls it.
        what: &'static str,
        /// How much it asks for.
        asked: usize,
        /// How much is allowed.
        allowed: usize,
        /// The setting that allows it.
        setting: &'static str,
        /// The most that the setting may say.
        hard: usize,
    },
    /// The compiler gave up on it.
    #[error("the component does not compile: {message}")]
    Compile {
        /// What the compiler said, or which limit it hit.
        message: String,
    },
    /// It compiles, but cannot be instantiated, or a role's functions have other types than the
    /// host's.
    #[error("the component cannot be used: {message}")]
    Bind {
        /// What does not fit.
        message: String,
    },
    /// The host is at fault; the same upload may succeed later.
    #[error(transparent)]
    Unavailable(#[from] EngineError),
}

fn list_faults(faults: &[InputFault]) -> String {
    let told = faults.iter().map(|fault| match fault.path.as_str() {
        "" => fault.message.clone(),
        path => format!("`{path}`: {}", fault.message),
    });
    told.collect::<Vec<_>>().join("; ")
}
