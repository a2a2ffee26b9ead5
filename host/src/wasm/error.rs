//! The errors of the engine, and the reasons why an upload is rejected.

use super::ModuleRole;
use crate::model::fault::InputFault;
use crate::model::module_manifest::HARD_COMPONENT;

/// A failure of the machine or of the cache directory, never of the module.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The pool could not be reserved or the host interfaces not be linked.
    #[error("the module engine could not start")]
    Start(#[source] wasmtime::Error),
    /// The cache directory cannot be used.
    #[error("the module cache at `{path}` cannot be used")]
    Cache {
        /// The file or directory that was read or written.
        path: std::path::PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The compiling process could not be started, or the connection to it broke.
    #[error("the module compiler could not be run")]
    Compiler(#[source] std::io::Error),
    /// File or compiler work ended early, as at a shutdown.
    #[error("the work was cancelled")]
    BrokenOff(#[from] tokio::task::JoinError),
}

/// Why an upload was not admitted. The module's author can correct every case except
/// [`ModuleRejection::Unavailable`], and the text says how.
#[derive(Debug, thiserror::Error)]
pub enum ModuleRejection {
    /// Larger than [`super::ModuleLimits::upload_bytes`].
    #[error(
        "the component has {size} bytes, the limit is {limit}: ask the server's operator to raise \
         `modules.max_component` in its configuration, to at most {HARD_COMPONENT}. A component of \
         Rust needs less if it is built in release mode with `opt-level = \"s\"` and `strip = true`; \
         one of Python has 18 MB"
    )]
    TooLarge {
        /// Bytes of the upload.
        size: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
    /// The upload is not WebAssembly.
    #[error(
        "this is not WebAssembly: a component begins with `\\0asm`. Upload the `.wasm` file itself"
    )]
    NotWasm,
    /// The upload is a core module.
    #[error(
        "this is a core module, not a component: build for the target `wasm32-wasip2`, or wrap it \
         with `wasm-tools component new`"
    )]
    CoreModule,
    /// The binary ends too early.
    #[error("the component is cut off after {offset} bytes: upload the whole file")]
    Truncated {
        /// Number of bytes before the end.
        offset: usize,
    },
    /// The binary is not valid.
    #[error("the component is not valid at byte {offset}: {message}")]
    Invalid {
        message: String,
        /// Position of the fault in the binary.
        offset: usize,
    },
    /// The component exports no role that the host could call.
    #[error(
        "the component exports none of the roles {}: its exports are {exports}. \
         Build it against the WIT package waybill:module@0.1.0",
        ModuleRole::ALL_INTERFACES
    )]
    NoRole {
        /// The interfaces that it exports instead, as a list.
        exports: String,
    },
    /// The component imports an interface that the host does not provide.
    #[error(
        "the component imports `{import}`, which modules may not import: they may import \
         the capabilities of waybill:module@0.1 (log, config, state, records, http, secrets, emit, \
         deliveries, counters) and WASI 0.2 (cli, io, clocks, random, filesystem, sockets; all of \
         them empty)"
    )]
    UnknownImport {
        /// The first such import.
        import: String,
    },
    /// The component needs more of a resource than [`super::ModuleLimits`] allows.
    #[error("the component asks for {asked} {what}, the limit is {limit}")]
    OverLimit {
        /// The name of the resource, in the plural.
        what: &'static str,
        asked: u64,
        limit: u64,
    },
    /// The manifest cannot be read, or does not fit the component.
    #[error("the manifest of the component is wrong: {}", list_faults(.0))]
    Manifest(Vec<InputFault>),
    /// The manifest asks for more than the operator allows.
    #[error(
        "the manifest asks for {asked} as `limits.{what}` (in bytes, milliseconds or events), this server allows \
         {allowed}: ask for less, or have whoever runs the server raise `modules.{setting}` in its \
         configuration, to {hard} at most"
    )]
    AsksTooMuch {
        /// The name of the limit in the manifest.
        what: &'static str,
        asked: usize,
        allowed: usize,
        /// The setting that allows it.
        setting: &'static str,
        /// The highest value of the setting.
        hard: usize,
    },
    /// The compiler failed on the component.
    #[error("the component does not compile: {message}")]
    Compile {
        /// The compiler's message, or the limit that it reached.
        message: String,
    },
    /// The component compiles, but cannot be instantiated, or the types of a role's functions
    /// differ from the host's.
    #[error("the component cannot be used: {message}")]
    Bind { message: String },
    /// The host failed. The same upload may succeed later.
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
