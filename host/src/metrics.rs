//! Figures of this process for Prometheus: counters, gauges and histograms.
//!
//! A stage looks up its figures when the settings are loaded, and then counts with plain atomics.
//! Nothing is looked up by name for an event. Each kind of object has at most
//! [`MOST_NAMES`](name_book::MOST_NAMES) names with figures of their own. All other objects share
//! the name `other`, so the number of series is bounded whatever operators set.

pub mod endpoint_figures;
pub mod exposition;
pub mod flow_figures;
pub mod histogram;
pub mod module_figures;
pub mod name_book;
pub mod process_figures;
pub mod store_figures;

pub use endpoint_figures::EndpointFigures;
pub use flow_figures::FlowFigures;
pub use module_figures::{ModuleFigures, ModuleHealth, VersionFigures};
pub use store_figures::StoreFigures;

use endpoint_figures::EndpointFamilies;
use flow_figures::FlowFamilies;
use module_figures::ModuleFamilies;
use name_book::NameBook;
use prometheus_client::registry::Registry;
use std::sync::Arc;

/// All figures of a process.
#[derive(Debug)]
pub struct ServerMetrics {
    pub store: StoreFigures,
    registry: Registry,
    endpoints: NameBook<EndpointFigures>,
    flows: NameBook<FlowFigures>,
    modules: NameBook<ModuleFigures>,
    module_versions: NameBook<VersionFigures>,
    endpoint_families: EndpointFamilies,
    flow_families: FlowFamilies,
    module_families: ModuleFamilies,
}

impl Default for ServerMetrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let store = StoreFigures::register(&mut registry);
        let endpoint_families = EndpointFamilies::register(&mut registry);
        let flow_families = FlowFamilies::register(&mut registry);
        let module_families = ModuleFamilies::register(&mut registry);
        Self {
            store,
            registry,
            endpoints: NameBook::default(),
            flows: NameBook::default(),
            modules: NameBook::default(),
            module_versions: NameBook::default(),
            endpoint_families,
            flow_families,
            module_families,
        }
    }
}

impl ServerMetrics {
    /// Returns the figures of an endpoint. They survive a reload of the settings.
    pub fn find_endpoint(&self, name: &str) -> Arc<EndpointFigures> {
        self.endpoints.find(name, |name| self.endpoint_families.make(name))
    }

    /// Returns the figures of a flow. They survive a reload of the settings.
    pub fn find_flow(&self, name: &str) -> Arc<FlowFigures> {
        self.flows.find(name, |name| self.flow_families.make(name))
    }

    /// Returns the figures of a module. All its versions and flows share them.
    pub fn find_module(&self, name: &str) -> Arc<ModuleFigures> {
        self.modules.find(name, |name| self.module_families.make(name))
    }

    /// Returns the figures of a version that flows have run since the start.
    pub fn find_known_version(&self, name: &str, version: u32) -> Option<Arc<VersionFigures>> {
        self.module_versions.find_known(&format!("{name} {version}"))
    }

    /// Returns the figures of one version of a module. All its flows share them.
    pub fn find_version(&self, name: &str, version: u32) -> Arc<VersionFigures> {
        let key = format!("{name} {version}");
        self.module_versions.find(&key, |key| self.module_families.make_version(key))
    }

    /// Returns the figures of the stages in Prometheus' text format 0.0.4.
    pub fn expose_text(&self) -> String {
        exposition::encode_registry(&self.registry)
    }
}
