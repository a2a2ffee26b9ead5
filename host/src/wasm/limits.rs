//! What a module may use.

use std::time::Duration;

/// How often the processor time of running guests is looked at, and how long one may run before
/// others get their turn.
pub const TICK: Duration = Duration::from_millis(5);

/// What a module may use. The defaults are measured: they leave room for JavaScript and Python
/// guests of a few megabytes and end a hostile one before anybody notices.
#[derive(Debug, Clone, Copy)]
pub struct ModuleLimits {
    /// Bytes of an uploaded component.
    pub upload_bytes: usize,
    /// Bytes of linear memory, all memories of one instance together.
    pub memory_bytes: usize,
    /// Linear memories of one component.
    pub memories: u32,
    /// Tables of one component.
    pub tables: u32,
    /// Table elements, all tables of one instance together.
    pub table_elements: usize,
    /// Core module instances of one component.
    pub core_instances: u32,
    /// Bytes of stack that guest code may use.
    pub stack_bytes: usize,
    /// Processor time of one call of one role, and of the instantiation; looked at every 5 ms.
    pub cpu: Duration,
    /// Elapsed time of one call, for guests that wait instead of computing, and for machines too
    /// busy to run them.
    pub wall: Duration,
    /// Elapsed time of all calls of one run: a `route` is called for each draft.
    pub run: Duration,
    /// Bytes that one call may return, all strings together.
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
    /// Processor time of one compilation.
    pub compile_cpu: Duration,
    /// Bytes of address space that the compiling process may add to what it starts with.
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
            compile_cpu: Duration::from_mins(1),
            compile_memory_bytes: 1 << 30,
        }
    }
}
