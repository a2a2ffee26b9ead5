//! Modules: users' WebAssembly components, which are admitted once and then run on events.
//!
//! The upload of the API and the command line call [`ModuleEngine::admit_module`]. The planner
//! calls [`ModuleEngine::load`] at the start and [`LoadedModule::run_granted`] for every event.
//! Only this module of the host uses wasmtime.
//!
//! **Admission.** An upload is validated completely, and its imports and exports are compared with
//! those of the host. It is compiled in a child process that can be killed, because wasmtime does
//! not treat the exhaustion of resources by a compilation as a vulnerability. It is instantiated
//! once with all its roles bound, because names alone do not prove that the types fit. The compiled
//! form is stored in a [`ModuleCache`] under a seal (HMAC), and is never mapped if the seal does
//! not fit. The component stays the source of truth: if the cache does not have it, it is admitted
//! again.
//!
//! **Running.** Each event and module gets a fresh instance (unless the module may [`reuse`] one),
//! which the module's roles share: `filter`, then `transform`, then `route` on each event that goes
//! on. Instances are in a pool
//! with a fixed number of slots. A call waits for a slot, and one module can hold only a part of
//! the slots. A long call yields to others at every tick.
//!
//! **Roles outside of flows.** `channel` is called for an attempt at a delivery, `source` for a
//! request to a source, and `puller` for the pages of an API, each call in an instance of its own
//! ([`lone_call`]). The host makes the requests that they ask for.
//!
//! **Isolation.** A module can only affect others by what it was granted ([`capabilities`]). It has
//! no files, no environment, and no network of its own. Its clock shows the time when the event was
//! captured, and its random numbers are derived from the event's id, the module and a secret of the
//! server, so that a retry, a dry run and a replay get the same values. [`ModuleLimits`] bounds
//! processor time, memory, output, log and fan-out. A module that exceeds a limit fails on that
//! event only, with a [`ModuleFailure`] that names the limit.
//!
//! **Precision.** Processor time is checked every 5 ms, so a limit ends a call up to two such ticks
//! late. The time that a guest waits (in a sleep) is bounded only by the limit of elapsed time.

pub mod bindings;
pub mod capabilities;
pub mod cache;
pub mod case_run;
pub mod case_world;
pub mod channel_run;
pub mod check;
pub mod compile;
pub mod effect_calls;
pub mod engine;
pub mod error;
pub mod golden_case;
pub mod guest_log;
pub mod guest_state;
pub mod json;
pub mod limits;
pub mod lone_call;
pub mod manifest_section;
pub mod mapped;
pub mod module;
pub mod module_facts;
pub mod network_calls;
pub mod outgoing;
pub mod output;
pub mod pull_run;
pub mod record_calls;
pub mod reuse;
pub mod run;
pub mod sample_event;
pub mod secret_calls;
pub mod source_run;
pub mod state_calls;
pub mod validate;
pub mod wasi;

pub use cache::ModuleCache;
pub use capabilities::{CallPlace, CapabilityRun};
pub use channel_run::{ChannelInput, ChannelStep};
pub use compile::{ModuleCompiler, compile_child};
pub use engine::ModuleEngine;
pub use error::{EngineError, ModuleRejection};
pub use guest_log::LogLine;
pub use limits::{LimitCeilings, ModuleLimits};
pub use lone_call::{LoneMoment, LoneRole};
pub use manifest_section::{embed_manifest, inspect_component};
pub use module::{LoadedModule, ModuleReport, ModuleRole};
pub use outgoing::{EventCalls, ModuleClient};
pub use output::{
    InputChanges, ModuleDispatch, ModuleFailure, ModuleInput, ModuleRun, ModuleStep, PATIENCE,
    RoleVerdict, RoutedEvent, RunEnd, merged,
};
pub use pull_run::{PullInput, PullStep};
pub use source_run::{DecodedRequest, InboundRequest};

#[cfg(test)]
pub mod tests;
