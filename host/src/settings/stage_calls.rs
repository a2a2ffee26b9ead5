//! Calls of a module outside of flows: asks its breaker, counts the call, and keeps its log lines.

use super::module_breakers::{AdmittedCall, BreakerVerdict};
use super::module_logs::LineOrigin;
use super::{ModuleStage, ModuleUnusable};
use crate::metrics::module_figures::CallOutcome;
use crate::model::plan_effects::PlanEffects;
use crate::time::timestamp::Timestamp;
use crate::wasm::record_calls::MAX_RECORD_BYTES;
use crate::wasm::{
    CallPlace, CapabilityRun, LoadedModule, LogLine, LoneMoment, LoneRole, ModuleFailure,
    ModuleRole, ModuleStep, RoleVerdict,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Why a module was not called, in a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct StageClosed {
    /// The reason as a word, such as `module_open`.
    pub reason: &'static str,
    pub why: String,
}

/// A call that may be made.
#[derive(Debug)]
pub struct StageCall<'s> {
    stage: &'s ModuleStage,
    version: u32,
    module: &'s LoadedModule,
    /// `None` in a trial, which is not counted.
    admitted: Option<AdmittedCall<'s>>,
    is_live: bool,
}

impl ModuleStage {
    /// Begins a call if a version runs and its breaker lets it.
    pub fn begin_call(&self, now: Timestamp) -> Result<StageCall<'_>, StageClosed> {
        let mut call = self.begin_trial()?;
        call.is_live = true;
        if let Some(breaker) = &self.breaker {
            match breaker.admit(now) {
                BreakerVerdict::Run(admitted) => call.admitted = Some(admitted),
                BreakerVerdict::KeptBack => {
                    self.figures.note_kept_back(self.settings.when_open);
                    return Err(StageClosed { reason: "module_open", why: breaker.tell_state() });
                }
            }
        }
        Ok(call)
    }

    /// Begins a call that is not counted, and not asked of the breaker.
    pub fn begin_trial(&self) -> Result<StageCall<'_>, StageClosed> {
        let name = &self.settings.name;
        match &self.module {
            Ok((version, module)) => {
                let (version, admitted, is_live) = (*version, None, false);
                Ok(StageCall { stage: self, version, module, admitted, is_live })
            }
            Err(ModuleUnusable::Missing(why)) => {
                Err(StageClosed { reason: "module_missing", why: why.clone() })
            }
            Err(why @ ModuleUnusable::NotLoaded(_)) => {
                let why = format!("module `{name}`: {why}");
                Err(StageClosed { reason: "module_failure", why })
            }
        }
    }
}

impl StageCall<'_> {
    /// Calls a role for the source `user`. `check` may find the result unusable.
    pub async fn call_and_check<R: LoneRole, T>(
        self,
        role: &R,
        moment: LoneMoment,
        (place, user): (CallPlace, &str),
        now: Timestamp,
        check: impl FnOnce(R::Answer) -> Result<T, ModuleFailure> + Send,
    ) -> Result<T, ModuleFailure> {
        let capabilities = self.capabilities(place, now);
        let config = &self.stage.config;
        let run = self.module.call_alone(role, moment, config, capabilities).await;
        let end = run.end.and_then(check);
        if self.is_live {
            let at = now.after(run.took);
            self.note(R::ROLE, end.as_ref().err(), (run.lines, run.took, run.memory), (user, at));
        }
        end
    }

    fn capabilities(&self, place: CallPlace, now: Timestamp) -> Box<CapabilityRun> {
        Box::new(CapabilityRun {
            place,
            grants: self.stage.grants.clone().unwrap_or_default(),
            store: None,
            flow: None,
            module: self.stage.settings.name.clone(),
            record: None,
            hops: 0,
            now,
            ids_from: now.since(Timestamp::default()),
            effects: PlanEffects::default(),
            secrets: Arc::clone(&self.stage.secrets),
            calls: None,
            looked_up: BTreeMap::new(),
            record_bytes_left: MAX_RECORD_BYTES,
        })
    }

    fn note(
        self,
        role: ModuleRole,
        failure: Option<&ModuleFailure>,
        (logs, took, memory): (Vec<LogLine>, Duration, usize),
        (user, at): (&str, Timestamp),
    ) {
        let stage = self.stage;
        let outcome = failure.map_or(CallOutcome::Passed, |_| CallOutcome::Failed);
        stage.figures.note_call(outcome, took, at);
        if let Some(figures) = &stage.version_figures {
            figures.note_call(failure.map_or(outcome.name(), ModuleFailure::reason), took);
            figures.note_role(role.name(), took);
            figures.note_memory(memory);
        }
        if let Some(admitted) = self.admitted {
            admitted.report_failure(failure, at);
        }
        let verdict = if failure.is_some() { RoleVerdict::Failed } else { RoleVerdict::Kept };
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let step = ModuleStep { role, verdict, reason: None, micros, logs };
        let origin = LineOrigin { at, event: None, flow: user, version: self.version };
        stage.log.keep_run(&[step], &origin);
    }
}
