//! What the modules of one flow may make of one event.
//!
//! Each call of a module has its own limits ([`crate::wasm::ModuleLimits`]). They multiply: 100
//! drafts of each of 16 modules are 10^32 events. These bounds hold for all modules of a flow
//! together.

use crate::model::id::EventId;
use crate::pipeline::contents::PlanContents;
use crate::pipeline::planner::{ModulesFailed, TraceStep};
use crate::wasm::{LogLine, ModuleRun, RoleVerdict};
use std::time::Duration;

/// Events that may be on their way between two modules.
pub const MAX_ITEMS: usize = 1_000;
/// Deliveries that may follow.
pub const MAX_DELIVERIES: usize = 2_000;
/// Bytes of the events on their way, and of what the deliveries send.
pub const MAX_BYTES: usize = 16 << 20;
/// Time that the modules may run in all.
pub const MAX_TIME: Duration = Duration::from_secs(10);
/// Steps that the trace holds.
const MAX_STEPS: usize = 1_000;
/// Bytes of log that the trace holds.
const MAX_LOG_BYTES: usize = 256 << 10;

/// What one event has cost so far.
#[derive(Debug)]
pub struct EventWork {
    running: Duration,
    log_bytes: usize,
    steps_left_out: usize,
    /// What the modules returned.
    pub contents: PlanContents,
}

/// Which module ran on what.
#[derive(Debug, Clone, Copy)]
pub struct RunLabel<'s> {
    pub module: &'s str,
    pub version: u32,
    /// The draft that the module got; `None` where it got the event as captured.
    pub draft: Option<EventId>,
}

fn too_much(what: &str) -> ModulesFailed {
    ModulesFailed {
        reason: "too_much_work",
        detail: format!("the flow's modules made too much of this one event: {what}"),
        most_retries: 0,
        after: None,
    }
}

/// Refuses more events than may be on their way.
pub fn check_items(items: usize) -> Result<(), ModulesFailed> {
    if items <= MAX_ITEMS {
        return Ok(());
    }
    Err(too_much(&format!("more than {MAX_ITEMS} events between two modules")))
}

/// Refuses more deliveries than may follow.
pub fn check_deliveries(deliveries: usize) -> Result<(), ModulesFailed> {
    if deliveries <= MAX_DELIVERIES {
        return Ok(());
    }
    Err(too_much(&format!("more than {MAX_DELIVERIES} deliveries")))
}

/// Refuses more bytes than may be held.
pub fn check_bytes(bytes: usize) -> Result<(), ModulesFailed> {
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    Err(too_much(&format!("more than {MAX_BYTES} bytes")))
}

impl EventWork {
    /// Nothing yet.
    pub const fn with_contents(contents: PlanContents) -> Self {
        Self { running: Duration::ZERO, log_bytes: 0, steps_left_out: 0, contents }
    }

    /// Refuses another run where the time is over.
    pub fn check_time(&self) -> Result<(), ModulesFailed> {
        if self.running < MAX_TIME {
            return Ok(());
        }
        Err(too_much(&format!("they ran for more than {} s", MAX_TIME.as_secs())))
    }

    /// Counts the steps of a run on an event with the payload `given`, and adds to the trace what it has room for; how a run failed is
    /// always shown.
    pub fn note<'s>(
        &mut self,
        trace: &mut Vec<TraceStep<'s>>,
        label: RunLabel<'s>,
        given: &str,
        run: &mut ModuleRun,
    ) {
        for mut step in std::mem::take(&mut run.steps) {
            self.running += Duration::from_micros(step.micros.into());
            if trace.len() >= MAX_STEPS && step.verdict != RoleVerdict::Failed {
                self.steps_left_out += 1;
                continue;
            }
            let bytes: usize = step.logs.iter().map(LogLine::size).sum();
            if self.log_bytes + bytes > MAX_LOG_BYTES {
                step.logs.clear();
            } else {
                self.log_bytes += bytes;
            }
            self.contents.note_step(trace.len(), step.role, given, &run.end);
            trace.push(TraceStep::of_module(label, step));
        }
    }

    /// Puts into the trace what happened outside of a module.
    pub fn note_host<'a>(&mut self, trace: &mut Vec<TraceStep<'a>>, step: TraceStep<'a>) {
        if trace.len() >= MAX_STEPS {
            self.steps_left_out += 1;
        } else {
            trace.push(step);
        }
    }

    /// Says at the end of the trace what is left out.
    pub fn close(&self, trace: &mut Vec<TraceStep<'_>>) {
        if self.steps_left_out > 0 {
            let reason = format!("{} more steps are not shown", self.steps_left_out);
            trace.push(TraceStep::of_host("trace", "omitted", reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::contents::ContentsRoom;
    use crate::wasm::guest_log::LogLevel;
    use crate::wasm::{ModuleRole, ModuleStep, RunEnd};

    const LABEL: RunLabel<'_> = RunLabel { module: "m", version: 1, draft: None };

    fn new_work() -> EventWork {
        EventWork::with_contents(PlanContents::with_room(ContentsRoom::STORED))
    }

    fn run(steps: Vec<ModuleStep>) -> ModuleRun {
        ModuleRun { steps, end: RunEnd::Out(Vec::new()), capabilities: None }
    }

    fn step(micros: u32, log: usize) -> ModuleStep {
        let line = LogLine { level: LogLevel::Info, message: "x".repeat(log), fields: Vec::new() };
        let logs = vec![line];
        ModuleStep {
            role: ModuleRole::Filter,
            verdict: RoleVerdict::Kept,
            reason: None,
            micros,
            logs,
        }
    }

    #[test]
    fn time_is_counted_over_all_runs() {
        let (mut work, mut trace) = (new_work(), Vec::new());
        let half = u32::try_from(MAX_TIME.as_micros() / 2).unwrap();
        work.note(&mut trace, LABEL, "", &mut run(vec![step(half, 1)]));
        assert!(work.check_time().is_ok());
        work.note(&mut trace, LABEL, "", &mut run(vec![step(half, 1)]));
        let failed = work.check_time().unwrap_err();
        assert_eq!(failed.reason, "too_much_work");
        assert!(failed.detail.contains("10 s"), "{}", failed.detail);
    }

    #[test]
    fn the_trace_is_cut_and_says_so() {
        let (mut work, mut trace) = (new_work(), Vec::new());
        let steps = (0..2_000).map(|_| step(1, 1_000)).collect();
        work.note(&mut trace, LABEL, "", &mut run(steps));
        work.close(&mut trace);
        assert_eq!(trace.len(), MAX_STEPS + 1);
        let text = serde_json::to_string(&trace).unwrap();
        assert!(text.contains("1000 more steps are not shown"));
        assert!(text.len() < MAX_LOG_BYTES + 200 * MAX_STEPS, "{}", text.len());
    }
}
