//! Compiles modules in a process of its own.
//!
//! A small component can make a compiler work for hours or fill the memory. The server therefore
//! starts a child (`waybill compile-module`). The child reads the component from standard input,
//! writes the machine code to standard output, and writes a sentence to standard error if it fails.
//! It limits its processor time and its address space before it reads a byte, has no environment,
//! and is killed when its parent gives up. It compiles for the on-demand allocator, whose code also
//! runs in the pool; a pool in the child would reserve terabytes of address space.

use super::{EngineError, ModuleLimits, ModuleRejection, engine};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Output, Stdio};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Threads of one compilation. More would only add stacks to the address space.
const THREADS: &str = "4";

/// How modules are compiled.
#[derive(Debug, Clone)]
pub enum ModuleCompiler {
    /// By `PROGRAM compile-module`, a process that can be killed. For components of strangers.
    Subprocess(PathBuf),
    /// In this process, without limits. For one's own components, as in `waybill module run`.
    InProcess,
}

/// Compiles a validated component to machine code.
pub async fn compile(
    compiler: &ModuleCompiler,
    wasm: &[u8],
    limits: &ModuleLimits,
) -> Result<Vec<u8>, ModuleRejection> {
    match compiler {
        ModuleCompiler::Subprocess(program) => in_child(program, wasm, limits).await,
        ModuleCompiler::InProcess => {
            let (wasm, limits) = (wasm.to_vec(), *limits);
            let work = tokio::task::spawn_blocking(move || precompile(&wasm, &limits));
            work.await
                .map_err(EngineError::BrokenOff)?
                .map_err(|e| ModuleRejection::Compile { message: format!("{e:#}") })
        }
    }
}

fn precompile(wasm: &[u8], limits: &ModuleLimits) -> wasmtime::Result<Vec<u8>> {
    wasmtime::Engine::new(&engine::config(limits))?.precompile_component(wasm)
}

async fn in_child(
    program: &Path,
    wasm: &[u8],
    limits: &ModuleLimits,
) -> Result<Vec<u8>, ModuleRejection> {
    let mut child = Command::new(program)
        .arg("compile-module")
        .env_clear()
        .env("RAYON_NUM_THREADS", THREADS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(EngineError::Compiler)?;
    let mut stdin = child.stdin.take();
    let feed = async move {
        match &mut stdin {
            // A child that died has given its reason on standard error, which says more than the
            // broken pipe.
            Some(stdin) => stdin.write_all(wasm).await.or(Ok(())),
            None => Ok(()),
        }
    };
    // The child limits its processor time itself. On a busy machine it also waits for its turn.
    let patience = limits.compile_cpu.saturating_mul(2);
    let both = async { tokio::try_join!(feed, child.wait_with_output()) };
    match tokio::time::timeout(patience, both).await {
        Ok(Ok(((), output))) => judge_compilation(output, limits),
        Ok(Err(e)) => Err(EngineError::Compiler(e).into()),
        Err(_) => Err(too_slow(limits)),
    }
}

pub fn judge_compilation(
    output: Output,
    limits: &ModuleLimits,
) -> Result<Vec<u8>, ModuleRejection> {
    use std::os::unix::process::ExitStatusExt as _;
    const CPU_LIMIT: i32 = 24; // SIGXCPU
    const KILL: i32 = 9; // SIGKILL, the hard processor limit
    match (output.status.success(), output.status.signal()) {
        (true, _) => Ok(output.stdout),
        (false, Some(CPU_LIMIT | KILL)) => Err(too_slow(limits)),
        (false, Some(_)) => Err(ModuleRejection::Compile {
            message: format!(
                "the compiler needs more than {} MiB of memory for it",
                limits.compile_memory_bytes >> 20
            ),
        }),
        (false, None) => {
            let text = String::from_utf8_lossy(&output.stderr);
            Err(ModuleRejection::Compile { message: text.trim().chars().take(2000).collect() })
        }
    }
}

fn too_slow(limits: &ModuleLimits) -> ModuleRejection {
    ModuleRejection::Compile {
        message: format!(
            "the compiler needs more than {} s of processor time for it",
            limits.compile_cpu.as_secs()
        ),
    }
}

/// Runs `waybill compile-module`: limits this process, reads a component from `input` and writes
/// its machine code to `output`, or a sentence to `errors`. Call it before anything else allocates
/// much, and end the process with the code that it returns.
pub fn compile_child(
    limits: &ModuleLimits,
    mut input: impl Read,
    mut output: impl Write,
    mut errors: impl Write,
) -> ExitCode {
    let mut work = || -> wasmtime::Result<()> {
        confine(limits)?;
        let mut wasm = Vec::new();
        input.read_to_end(&mut wasm)?;
        output.write_all(&precompile(&wasm, limits)?)?;
        Ok(output.flush()?)
    };
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(errors, "{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Limits the memory and the processor time of this process. The limits cannot be raised again.
fn confine(limits: &ModuleLimits) -> std::io::Result<()> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = pages.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let held = pages.saturating_mul(rustix::param::page_size() as u64);
    let memory = held.saturating_add(limits.compile_memory_bytes);
    setrlimit(Resource::As, Rlimit { current: Some(memory), maximum: Some(memory) })?;
    let cpu = limits.compile_cpu.as_secs().max(1);
    setrlimit(Resource::Cpu, Rlimit { current: Some(cpu), maximum: Some(cpu + 1) })?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(())
}
