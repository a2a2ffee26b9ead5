//! Bounds on what the modules of one flow may produce from one event.
//!
//! Each call of a module has its own limits ([`crate::wasm::ModuleLimits`]). These multiply: 100
//! drafts from each of 16 modules are 10^32 events. The bounds here hold for all modules of a flow
//! together.

use crate::model::id::EventId;
use crate::pipeline::contents::PlanContents;
use crate::pipeline::planner::outcome::{ModulesFailed, TraceStep};
use crate::wasm::{LogLine, ModuleRun, RoleVerdict};
use std::time::Duration;

/// Largest number of events between two modules.
pub const MAX_ITEMS: usize = 1_000;
/// Largest number of deliveries.
pub const MAX_DELIVERIES: usize = 2_000;
/// Largest total size of the events between two modules, or of the deliveries' messages, in bytes.
pub const MAX_BYTES: usize = 16 << 20;
/// Longest total run time of the modules.
pub const MAX_TIME: Duration = Duration::from_secs(10);
/// Largest number of steps in the trace.
const MAX_STEPS: usize = 1_000;
/// Largest size of the log lines in the trace, in bytes.
const MAX_LOG_BYTES: usize = 256 << 10;

/// The resources that one event has used so far.
#[derive(Debug)]
pub struct EventWork {
    running: Duration,
    log_bytes: usize,
    steps_left_out: usize,
    /// The drafts and dispatches that the modules returned.
    pub contents: PlanContents,
}

/// Identifies the run of a module.
#[derive(Debug, Clone, Copy)]
pub struct RunLabel<'s> {
    pub module: &'s str,
    pub version: u32,
    /// The draft that the module received. `None` if it received the event as captured.
    pub draft: Option<EventId>,
}

/// The reason of a plan that exceeds these bounds.
pub const TOO_MUCH_WORK: &str = "too_much_work";

fn too_much(what: &str) -> ModulesFailed {
    ModulesFailed {
        reason: TOO_MUCH_WORK,
        detail: format!("the flow's modules produced too much from this one event: {what}"),
        most_retries: 0,
        after: None,
        is_parked: false,
    }
}

/// Fails if there are too many events between two modules.
pub fn check_items(items: usize) -> Result<(), ModulesFailed> {
    if items <= MAX_ITEMS {
        return Ok(());
    }
    Err(too_much(&format!("more than {MAX_ITEMS} events between two modules")))
}

/// Fails if there are too many deliveries.
pub fn check_deliveries(deliveries: usize) -> Result<(), ModulesFailed> {
    if deliveries <= MAX_DELIVERIES {
        return Ok(());
    }
    Err(too_much(&format!("more than {MAX_DELIVERIES} deliveries")))
}

/// Fails if there are too many bytes.
pub fn check_bytes(bytes: usize) -> Result<(), ModulesFailed> {
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    Err(too_much(&format!("more than {MAX_BYTES} bytes")))
}

impl EventWork {
    /// Starts with nothing used.
    pub const fn with_contents(contents: PlanContents) -> Self {
        Self { running: Duration::ZERO, log_bytes: 0, steps_left_out: 0, contents }
    }

    /// Fails if the total run time is used up.
    pub fn check_time(&self) -> Result<(), ModulesFailed> {
        if self.running < MAX_TIME {
            return Ok(());
        }
        Err(too_much(&format!("a run time of more than {} s", MAX_TIME.as_secs())))
    }

    /// Counts the steps of a run on an event with the payload `given`, and adds as many to the
    /// trace as there is room for. A failure is always added.
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

    /// Adds a step of the host to the trace.
    pub fn note_host<'a>(&mut self, trace: &mut Vec<TraceStep<'a>>, step: TraceStep<'a>) {
        if trace.len() >= MAX_STEPS {
            self.steps_left_out += 1;
        } else {
            trace.push(step);
        }
    }

    /// Appends the number of omitted steps to the trace.
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
        let end = RunEnd::Out(Vec::new());
        ModuleRun { steps, end, memory: 0, capabilities: None, is_reused: false }
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
