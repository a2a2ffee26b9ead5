//! Modules: users' WebAssembly components, admitted once and then run on events.
//!
//! The API's upload and the command line call [`ModuleEngine::admit_module`], the planner calls
//! [`ModuleEngine::load`] at the start and [`LoadedModule::run`] for every event. Nothing else in
//! the host names wasmtime.
//!
//! **Admission.** An upload is validated in full, its imports and exports are compared with what
//! the host has, it is compiled in a child process that can be killed (compile-time exhaustion is
//! no vulnerability by wasmtime's own definition, so it is contained here), and it is instantiated
//! once with all its roles bound, because names alone do not prove that the types fit. The compiled
//! form lies in a [`ModuleCache`] under a seal (HMAC); a compiled form that the seal does not vouch
//! for is never mapped. The component itself stays the source of truth: a cache miss is answered by
//! admitting it again.
//!
//! **Running.** One fresh instance for each event and module, shared by the module's roles:
//! `filter`, then `transform`, then `route` on each event that goes on. The instance lives in a
//! pool with a fixed number of slots; a call waits for a slot, it never fails for want of one, and
//! one module can hold only a part of them. A long call gives way to others at every tick.
//!
//! **What a module can do to others: what it was granted** ([`capabilities`]), and nothing where that
//! is nothing. It gets no files, no environment, and no network of its own. Its
//! clock stands at the event's time and its randomness comes from the event's id, the module and a
//! secret of the server, so that a retry, a dry run and a replay see the same. Processor time,
//! memory, output, log and fan-out have [`ModuleLimits`]; whoever exceeds one ends with a
//! [`ModuleFailure`] that names it, for that event alone.
//!
//! **What is not promised.** Processor time is looked at every 5 ms, so a limit ends a call up to
//! two such ticks late. Time that a guest spends waiting (a sleep) is bounded by the wall-clock
//! limit only.

pub mod bindings;
pub mod capabilities;
pub mod cache;
pub mod check;
pub mod compile;
pub mod effect_calls;
pub mod engine;
pub mod error;
pub mod guest_log;
pub mod guest_state;
pub mod json;
pub mod limits;
pub mod manifest_section;
pub mod mapped;
pub mod module;
pub mod network_calls;
pub mod outgoing;
pub mod output;
pub mod record_calls;
pub mod run;
pub mod secret_calls;
pub mod state_calls;
pub mod validate;
pub mod wasi;

pub use cache::ModuleCache;
pub use capabilities::CapabilityRun;
pub use compile::{ModuleCompiler, compile_child};
pub use engine::ModuleEngine;
pub use error::{EngineError, ModuleRejection};
pub use guest_log::LogLine;
pub use limits::{LimitCeilings, ModuleLimits};
pub use manifest_section::{embed_manifest, inspect_component};
pub use module::{LoadedModule, ModuleReport, ModuleRole};
pub use outgoing::{EventCalls, ModuleClient};
pub use output::{
    InputChanges, ModuleDispatch, ModuleFailure, ModuleInput, ModuleRun, ModuleStep, PATIENCE,
    RoleVerdict, RoutedEvent, RunEnd, merged,
};

#[cfg(test)]
pub mod tests;
