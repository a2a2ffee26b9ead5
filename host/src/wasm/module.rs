//! Admitted modules: their roles, and the check that the roles can be called.

use super::bindings::exports::waybill::module::{
    channel, filter, puller, route, source, transform,
};
use super::engine::EngineInner;
use super::guest_state::{GuestContext, GuestRandomness, GuestState};
use super::reuse::IdleInstances;
use super::{ModuleLimits, ModuleRejection, run};
use crate::model::module_manifest::ModuleManifest;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use wasmtime::component::{Component, InstancePre};

/// What a module does. In JSON: `filter`, `transform`, `route`, `channel`, `source` and `puller`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModuleRole {
    /// Decides whether an event goes on.
    Filter,
    /// Replaces the event by drafts.
    Transform,
    /// Chooses among the flow's endpoints.
    Route,
    /// Delivers to a kind of receiver.
    Channel,
    /// Turns a request to a source into events.
    Source,
    /// Asks an API for the events of a source.
    Puller,
}

impl ModuleRole {
    /// All roles, in the order in which they are called.
    pub const ALL: [Self; 6] =
        [Self::Filter, Self::Transform, Self::Route, Self::Channel, Self::Source, Self::Puller];

    pub const ALL_INTERFACES: &'static str = "`waybill:module/filter`, `waybill:module/transform`, \
         `waybill:module/route`, `waybill:module/channel`, `waybill:module/source`, \
         `waybill:module/puller`";

    /// Returns whether flows call the role.
    pub const fn is_of_flow(self) -> bool {
        match self {
            Self::Filter | Self::Transform | Self::Route => true,
            Self::Channel | Self::Source | Self::Puller => false,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Transform => "transform",
            Self::Route => "route",
            Self::Channel => "channel",
            Self::Source => "source",
            Self::Puller => "puller",
        }
    }

    /// Returns the interface that a component with this role exports, up to the version.
    pub const fn interface(self) -> &'static str {
        match self {
            Self::Filter => "waybill:module/filter@0.1.",
            Self::Transform => "waybill:module/transform@0.1.",
            Self::Route => "waybill:module/route@0.1.",
            Self::Channel => "waybill:module/channel@0.1.",
            Self::Source => "waybill:module/source@0.1.",
            Self::Puller => "waybill:module/puller@0.1.",
        }
    }
}

impl fmt::Display for ModuleRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The description of an admitted module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleReport {
    /// The component's SHA-256 in hexadecimal, which identifies the module.
    pub sha256: String,
    /// Bytes of the component.
    pub size: usize,
    /// The roles, in the order in which they are called.
    pub exports: Vec<ModuleRole>,
    /// The names of the imported interfaces.
    pub imports: Vec<String>,
    /// The author's manifest, if the component has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<ModuleManifest>,
}

impl ModuleReport {
    /// Whether the module exports a role that flows call.
    pub fn has_flow_role(&self) -> bool {
        self.exports.iter().any(|role| role.is_of_flow())
    }

    /// Whether the module has a role whose requests the host makes.
    pub fn needs_requests(&self) -> bool {
        self.has_role(ModuleRole::Channel) || self.has_role(ModuleRole::Puller)
    }

    /// Whether the module exports a role.
    pub fn has_role(&self, role: ModuleRole) -> bool {
        self.exports.contains(&role)
    }

    /// Whether the module imports a capability that has to be granted.
    pub fn imports_capabilities(&self) -> bool {
        let always = ["types@", "http-types@", "log@", "config@"];
        let imports = self.imports.iter().filter_map(|name| name.strip_prefix("waybill:module/"));
        imports.into_iter().any(|name| !always.iter().any(|free| name.starts_with(free)))
    }
}

/// An admitted module, ready to run. Cheap to clone.
#[derive(Clone)]
pub struct LoadedModule(pub Arc<BoundModule>);

/// A module with its exports looked up, so that a call has nothing to look up.
pub struct BoundModule {
    pub engine: Arc<EngineInner>,
    pub pre: InstancePre<GuestState>,
    pub filter: Option<filter::GuestIndices>,
    pub transform: Option<transform::GuestIndices>,
    pub route: Option<route::GuestIndices>,
    pub channel: Option<channel::GuestIndices>,
    pub source: Option<source::GuestIndices>,
    pub puller: Option<puller::GuestIndices>,
    /// Bounds the instances of this module, so that slots are left for other modules.
    pub turns: Semaphore,
    /// The instances that wait for another event.
    pub idle: IdleInstances,
    pub sha256: [u8; 32],
    pub report: ModuleReport,
    pub limits: ModuleLimits,
}

impl fmt::Debug for LoadedModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Module").field(&self.0.report).finish()
    }
}

impl LoadedModule {
    pub fn report(&self) -> &ModuleReport {
        &self.0.report
    }

    /// Returns the room for the answers that all attempts of channel modules hold, in KiB.
    pub fn answer_room(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.engine.answer_room)
    }

    /// Returns the component's SHA-256, which identifies the module.
    pub fn sha256(&self) -> [u8; 32] {
        self.0.sha256
    }
}

/// Links a compiled component, instantiates it once and binds its roles. No role is called.
pub async fn bind_module(
    engine: &Arc<EngineInner>,
    component: Component,
    report: ModuleReport,
) -> Result<LoadedModule, ModuleRejection> {
    within_pool(&component, engine)?;
    let pre = engine.linker.instantiate_pre(&component).map_err(|e| unfit(&e))?;
    let bound = BoundModule {
        filter: look_up(&report, ModuleRole::Filter, || filter::GuestIndices::new(&pre))?,
        transform: look_up(&report, ModuleRole::Transform, || transform::GuestIndices::new(&pre))?,
        route: look_up(&report, ModuleRole::Route, || route::GuestIndices::new(&pre))?,
        channel: look_up(&report, ModuleRole::Channel, || channel::GuestIndices::new(&pre))?,
        source: look_up(&report, ModuleRole::Source, || source::GuestIndices::new(&pre))?,
        puller: look_up(&report, ModuleRole::Puller, || puller::GuestIndices::new(&pre))?,
        engine: Arc::clone(engine),
        pre,
        turns: Semaphore::new(engine.side_by_side * 2),
        idle: IdleInstances::default(),
        sha256: digest(&report)?,
        limits: engine.limits.for_module(report.manifest.as_ref()),
        report,
    };
    try_out(&bound).await?;
    Ok(LoadedModule(Arc::new(bound)))
}

/// Looks up the functions of a role, if the module exports it.
fn look_up<I>(
    report: &ModuleReport,
    role: ModuleRole,
    find: impl FnOnce() -> wasmtime::Result<I>,
) -> Result<Option<I>, ModuleRejection> {
    report.has_role(role).then(find).transpose().map_err(|error| unfit(&error))
}

/// Refuses a component that needs more than the pool has. The pool would refuse it too, but without
/// the numbers.
fn within_pool(component: &Component, engine: &EngineInner) -> Result<(), ModuleRejection> {
    let Some(needs) = component.resources_required() else {
        return Err(ModuleRejection::Bind {
            message: "it imports a module or a component".to_owned(),
        });
    };
    for (what, asked, limit) in [
        ("memories", needs.num_memories, engine.limits.memories),
        ("tables", needs.num_tables, engine.limits.tables),
    ] {
        if asked > limit {
            return Err(ModuleRejection::OverLimit {
                what,
                asked: asked.into(),
                limit: limit.into(),
            });
        }
    }
    Ok(())
}

/// Starts an instance and loads the functions of its roles. Only this compares their types.
async fn try_out(bound: &BoundModule) -> Result<(), ModuleRejection> {
    // Without a slot, this instance or that of a run with a slot would be refused when the pool is
    // full. The semaphore is never closed.
    let _slot = bound.engine.slots.acquire().await.ok();
    let randomness = GuestRandomness {
        secret: bound.engine.randomness.clone(),
        module: bound.sha256,
        event: String::new(),
    };
    let guest = GuestContext { randomness, received: Duration::ZERO, config: Arc::default() };
    let message = match run::start_instance(bound, guest, None).await {
        Ok((mut store, instance)) => {
            let unfit = |loaded: Option<wasmtime::Result<()>>| loaded.and_then(Result::err);
            let failed = [
                unfit(bound.filter.as_ref().map(|f| f.load(&mut store, &instance).map(drop))),
                unfit(bound.transform.as_ref().map(|t| t.load(&mut store, &instance).map(drop))),
                unfit(bound.route.as_ref().map(|r| r.load(&mut store, &instance).map(drop))),
                unfit(bound.channel.as_ref().map(|c| c.load(&mut store, &instance).map(drop))),
                unfit(bound.source.as_ref().map(|s| s.load(&mut store, &instance).map(drop))),
                unfit(bound.puller.as_ref().map(|p| p.load(&mut store, &instance).map(drop))),
            ];
            failed.into_iter().flatten().next().map(|e| {
                format!(
                    "a role's functions differ from waybill:module@0.1.0 ({e:#}): build it against \
                     the published WIT package, unchanged"
                )
            })
        }
        Err(failure) => Some(format!("it does not start: {failure}")),
    };
    message.map_or(Ok(()), |message| Err(ModuleRejection::Bind { message }))
}

fn digest(report: &ModuleReport) -> Result<[u8; 32], ModuleRejection> {
    let mut sha256 = [0; 32];
    match hex::decode_to_slice(&report.sha256, &mut sha256) {
        Ok(()) => Ok(sha256),
        Err(e) => Err(ModuleRejection::Bind { message: format!("its digest is damaged: {e}") }),
    }
}

fn unfit(error: &wasmtime::Error) -> ModuleRejection {
    ModuleRejection::Bind { message: format!("{error:#}") }
}
