//! Which version of each module runs on an event.

use super::FlowPlanner;
use crate::settings::ModuleStage;

/// The version of a module that runs while another one is on trial.
#[derive(Debug, Clone, Copy)]
pub enum VersionChoice<'a> {
    /// A canary runs its share of the records.
    Live,
    /// The active version, or the one that the flow names.
    Present,
    /// The version of this module that is on trial.
    Tried(&'a str),
}

/// The versions on trial that run on one event. Chosen once for the whole plan: a breaker that opens
/// in between must not mix two versions in it.
#[derive(Debug, Default)]
pub(super) struct ChosenVersions<'a>(Vec<(&'a ModuleStage, &'a ModuleStage)>);

impl<'a> ChosenVersions<'a> {
    /// Returns the stage of the version that runs in this place of the flow.
    pub(super) fn find(&self, slot: &'a ModuleStage) -> &'a ModuleStage {
        let tried = self.0.iter().find(|(place, _)| std::ptr::eq(*place, slot));
        tried.map_or(slot, |(_, stage)| stage)
    }
}

impl<'a> FlowPlanner<'a> {
    pub(super) fn choose_versions(&self) -> ChosenVersions<'a> {
        let tried = |slot: &'a ModuleStage| Some((slot, self.find_tried(slot)?));
        ChosenVersions(self.route.modules.iter().filter_map(tried).collect())
    }

    /// Returns the stage of the version on trial if it runs on the event.
    fn find_tried(&self, slot: &'a ModuleStage) -> Option<&'a ModuleStage> {
        let trial = slot.trial.as_deref()?;
        let is_tried = match self.versions {
            VersionChoice::Live => {
                let now = self.store.clock().now();
                trial.runs_event(self.route.flow.id, self.event, now)
            }
            VersionChoice::Present => false,
            VersionChoice::Tried(module) => module == slot.settings.name,
        };
        is_tried.then_some(&trial.stage)
    }
}
