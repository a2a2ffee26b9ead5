//! The limits of modules.

use super::ModuleRejection;
use super::outgoing::EVENT_TIME;
use crate::model::module_manifest::{
    HARD_LOG, HARD_MEMORY, HARD_OUTPUT, HARD_REUSE, HARD_TIME, ManifestLimits, ModuleManifest,
};
use std::time::Duration;

/// The interval at which the processor time of running guests is checked. A guest may run for as
/// long before others get their turn.
pub const TICK: Duration = Duration::from_millis(5);

/// The resources that a module may use. The defaults are measured: they leave room for JavaScript
/// and Python guests of a few megabytes, and end a hostile guest before it disturbs others. The
/// limits of an engine are the most that any module may ask for. [`ModuleLimits::for_module`]
/// returns those of one module.
#[derive(Debug, Clone, Copy)]
pub struct ModuleLimits {
    /// Bytes of an uploaded component.
    pub upload_bytes: usize,
    /// Bytes of all linear memories of one instance together.
    pub memory_bytes: usize,
    /// Linear memories of one component.
    pub memories: u32,
    /// Tables of one component.
    pub tables: u32,
    /// Elements of all tables of one instance together.
    pub table_elements: usize,
    /// Core module instances of one component.
    pub core_instances: u32,
    /// Bytes of stack that guest code may use.
    pub stack_bytes: usize,
    /// Processor time of one call of one role, and of the instantiation. It is checked every 5 ms.
    pub cpu: Duration,
    /// Elapsed time of one call. It bounds guests that wait instead of computing, and calls on
    /// machines that are too busy to run them.
    pub wall: Duration,
    /// Elapsed time of all calls of one run, in which `route` is called for each draft.
    pub run: Duration,
    /// Bytes of all strings together that one call may return.
    pub output_bytes: usize,
    /// Bytes that the calls of `route` in one run may return together.
    pub run_output_bytes: usize,
    /// Drafts that one `transform` may return.
    pub drafts: usize,
    /// Dispatches that one `route` may return.
    pub dispatches: usize,
    /// Attributes that one draft or dispatch may set.
    pub attributes: usize,
    /// The longest delay that a dispatch may ask for.
    pub delay: Duration,
    /// Log lines of one call.
    pub log_lines: usize,
    /// Bytes of log of one call, standard output and error included.
    pub log_bytes: usize,
    /// Events that one instance may handle.
    pub reuse: u32,
    /// Longest time that an instance waits for its next event.
    pub idle: Duration,
    /// Processor time of one compilation.
    pub compile_cpu: Duration,
    /// Bytes of address space that the compiling process may add after its start.
    pub compile_memory_bytes: u64,
}

impl Default for ModuleLimits {
    fn default() -> Self {
        Self {
            upload_bytes: 4 << 20,
            memory_bytes: 64 << 20,
            memories: 4,
            tables: 8,
            table_elements: 20_000,
            core_instances: 100,
            stack_bytes: 512 << 10,
            cpu: Duration::from_millis(100),
            wall: Duration::from_secs(1),
            run: Duration::from_secs(5),
            output_bytes: 2 << 20,
            run_output_bytes: 16 << 20,
            drafts: 100,
            dispatches: 50,
            attributes: 64,
            delay: Duration::from_hours(30 * 24),
            log_lines: 100,
            log_bytes: 64 << 10,
            reuse: 1,
            idle: Duration::from_secs(1),
            compile_cpu: Duration::from_mins(1),
            compile_memory_bytes: 1 << 30,
        }
    }
}

/// The highest limits that the operator allows modules.
#[derive(Debug, Clone, Copy)]
pub struct LimitCeilings {
    /// Bytes of an uploaded component.
    pub component: usize,
    /// Bytes of linear memory.
    pub memory: usize,
    /// Processor time of one call.
    pub time: Duration,
    /// Bytes that one call may return.
    pub output: usize,
    /// Bytes of log of one call.
    pub log: usize,
    /// Events that one instance may handle.
    pub reuse: u32,
}

impl ModuleLimits {
    /// Returns the limits of an engine.
    pub fn with_ceilings(ceilings: LimitCeilings) -> Self {
        Self {
            upload_bytes: ceilings.component,
            memory_bytes: ceilings.memory,
            output_bytes: ceilings.output,
            log_bytes: ceilings.log,
            reuse: ceilings.reuse,
            ..Self::default()
        }
        .with_time(ceilings.time)
    }

    /// Returns the limits with this processor time. The elapsed time is at least twice as long,
    /// because on a busy machine a guest also waits for its turn.
    fn with_time(self, cpu: Duration) -> Self {
        let wall = self.wall.max(cpu.saturating_mul(2));
        Self { cpu, wall, run: self.run.max(wall.saturating_mul(5)), ..self }
    }

    /// Returns the limits of a run that may send requests, and so may wait for hosts.
    #[must_use]
    pub fn with_requests(self) -> Self {
        Self { wall: self.wall + EVENT_TIME, run: self.run + EVENT_TIME, ..self }
    }

    /// Returns the limits of one module, within these. A module has the defaults unless its
    /// manifest asks for other values, so that a ceiling that is raised for one module changes no
    /// other.
    #[must_use]
    pub fn for_module(&self, manifest: Option<&ModuleManifest>) -> Self {
        let asked = manifest.map(|manifest| manifest.limits).unwrap_or_default();
        let usual = Self::default();
        let within =
            |asked: Option<usize>, usual: usize, most: usize| asked.unwrap_or(usual).min(most);
        let limits = Self {
            memory_bytes: within(asked.memory_bytes(), usual.memory_bytes, self.memory_bytes),
            output_bytes: within(asked.output_bytes(), usual.output_bytes, self.output_bytes),
            log_bytes: within(asked.log_bytes(), usual.log_bytes, self.log_bytes),
            reuse: asked.reuse.unwrap_or(usual.reuse).min(self.reuse),
            ..*self
        };
        limits.with_time(asked.time().unwrap_or(usual.cpu).min(self.cpu))
    }

    /// Refuses a manifest that asks for more than these limits.
    pub fn check_asked(&self, asked: ManifestLimits) -> Result<(), ModuleRejection> {
        let millis = |time: Duration| usize::try_from(time.as_millis()).unwrap_or(usize::MAX);
        let count = |events: u32| events as usize;
        let all = [
            ("reuse", asked.reuse.map(count), count(self.reuse), "max_reuse", count(HARD_REUSE)),
            ("memory_mib", asked.memory_bytes(), self.memory_bytes, "max_memory", HARD_MEMORY),
            ("time_ms", asked.time().map(millis), millis(self.cpu), "max_time", millis(HARD_TIME)),
            ("output_kib", asked.output_bytes(), self.output_bytes, "max_output", HARD_OUTPUT),
            ("log_kib", asked.log_bytes(), self.log_bytes, "max_log", HARD_LOG),
        ];
        for (what, asked, allowed, setting, hard) in all {
            if let Some(asked) = asked.filter(|asked| *asked > allowed) {
                return Err(ModuleRejection::AsksTooMuch { what, asked, allowed, setting, hard });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(limits: ManifestLimits) -> ModuleManifest {
        ModuleManifest { name: "x".to_owned(), limits, ..ModuleManifest::default() }
    }

    #[test]
    fn a_module_has_the_defaults_within_what_the_operator_allows() {
        let ceilings = LimitCeilings {
            component: 24 << 20,
            memory: 128 << 20,
            time: Duration::from_millis(500),
            output: 1 << 20,
            log: 64 << 10,
            reuse: 1,
        };
        let engine = ModuleLimits::with_ceilings(ceilings);
        let usual = engine.for_module(None);
        assert_eq!((usual.memory_bytes, usual.output_bytes), (64 << 20, 1 << 20));
        assert_eq!((usual.cpu, usual.wall), (Duration::from_millis(100), Duration::from_secs(1)));
        let asked =
            ManifestLimits { memory_mib: Some(96), time_ms: Some(400), ..Default::default() };
        let own = engine.for_module(Some(&manifest(asked)));
        assert_eq!((own.memory_bytes, own.cpu), (96 << 20, Duration::from_millis(400)));
        assert!(engine.check_asked(asked).is_ok());
        let more = ManifestLimits { memory_mib: Some(129), ..Default::default() };
        let refused = engine.check_asked(more).unwrap_err().to_string();
        assert!(refused.contains("modules.max_memory"), "{refused}");
        let frugal = ManifestLimits { reuse: Some(64), ..Default::default() };
        let refused = engine.check_asked(frugal).unwrap_err().to_string();
        assert!(refused.contains("raise `modules.max_reuse`"), "{refused}");
        assert_eq!((engine.for_module(Some(&manifest(frugal))).reuse, usual.reuse), (1, 1));
    }
}
