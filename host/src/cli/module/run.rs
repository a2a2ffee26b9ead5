//! `waybill module run`: runs one event through one component, without a server but with the
//! server's limits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::input::{literal, read_document};
use crate::cli::{CliError, CommandScreen};
use crate::error_chain::error_chain;
use crate::model::config_schema::ConfigSchema;
use crate::model::flow::{FlowModule, ModuleConfig};
use crate::model::module_manifest::{
    HARD_COMPONENT, HARD_LOG, HARD_MEMORY, HARD_OUTPUT, HARD_REUSE, HARD_TIME,
};
use crate::wasm::sample_event::SampleEvent;
use crate::wasm::{
    LimitCeilings, LoadedModule, ModuleCache, ModuleCompiler, ModuleEngine, ModuleInput,
    ModuleLimits, ModuleRun, ModuleStep, RoutedEvent, RunEnd,
};

/// Arguments of `waybill module run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The component.
    file: PathBuf,
    /// JSON or YAML file with an event in the form of `POST /api/v1/events`.
    #[arg(long, value_name = "FILE")]
    event: PathBuf,
    /// Value of the module's configuration, as KEY=VALUE. May be repeated.
    #[arg(long = "config", value_name = "KEY=VALUE")]
    config: Vec<String>,
    /// JSON, YAML or TOML file with the module's configuration.
    #[arg(long, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Run it so many more times, and print how long a run takes.
    #[arg(long, value_name = "N", default_value_t = 0)]
    repeat: u32,
    /// Print JSON on a terminal too.
    #[arg(long)]
    json: bool,
}

pub async fn run_locally(args: &RunArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    screen.force_json(args.json);
    let event = read_event(&args.event)?;
    let wasm = std::fs::read(&args.file).map_err(CliError::reading(&args.file))?;
    let module = admit_module(&args.file, &wasm).await?;
    if !module.report().has_flow_role() {
        let said = "this module has none of the roles filter, transform and route";
        let next = "test it with `cargo test`, or on a server by `waybill endpoint test` or `waybill source test`";
        return Err(CliError::with_next(said, next));
    }
    let schema = module.report().manifest.as_ref().and_then(|manifest| manifest.config.as_ref());
    let config = Arc::new(read_config(args, schema)?);
    let attributes = event.attribute_pairs();
    let run = module.run(event.input(&attributes), &config).await;
    let times = repeat_run(args.repeat, &module, event.input(&attributes), &config).await;
    if screen.is_human() {
        for step in &run.steps {
            show_step(step, screen)?;
        }
        show_end(&run.end, &event, screen)?;
        if let Some(times) = &times {
            screen.print_line(times.tell())?;
        }
    } else {
        let mut shown = as_json(&run);
        if let (Some(times), Some(members)) = (times, shown.as_object_mut()) {
            members.insert("times".to_owned(), times.to_json());
        }
        screen.print_json(&shown)?;
    }
    match run.end {
        RunEnd::Failed(failure) => {
            Err(CliError::failed(format!("{}: {failure}", failure.reason())))
        }
        RunEnd::Dropped { .. } | RunEnd::Out(_) => Ok(()),
    }
}

/// How long repeated runs took, in microseconds.
struct RunTimes {
    runs: usize,
    p50: u128,
    p99: u128,
    longest: u128,
}

impl RunTimes {
    fn tell(&self) -> String {
        let Self { runs, p50, p99, longest } = self;
        format!("\n{runs} more runs: p50 {p50} µs, p99 {p99} µs, longest {longest} µs")
    }

    fn to_json(&self) -> Value {
        let micros = |time: u128| u64::try_from(time).unwrap_or(u64::MAX);
        json!({
            "runs": self.runs, "p50_us": micros(self.p50), "p99_us": micros(self.p99),
            "longest_us": micros(self.longest),
        })
    }
}

/// Repeats a run as the server would run further events of one flow: in an instance that handled
/// others, if the manifest asks for that.
async fn repeat_run(
    times: u32,
    module: &LoadedModule,
    input: ModuleInput<'_>,
    config: &Arc<ModuleConfig>,
) -> Option<RunTimes> {
    let input = ModuleInput { may_reuse: true, ..input };
    let mut all = Vec::new();
    for _ in 0..times {
        let began = Instant::now();
        module.run(input, config).await;
        all.push(began.elapsed().as_micros());
    }
    all.sort_unstable();
    let at = |percent: usize| all.get(all.len().saturating_sub(1) * percent / 100).copied();
    Some(RunTimes { runs: all.len(), p50: at(50)?, p99: at(99)?, longest: at(100)? })
}

/// Validates and loads a component as the server would, but compiles it in this process, because
/// the user trusts it.
pub async fn admit_module(file: &Path, wasm: &[u8]) -> Result<LoadedModule, CliError> {
    let failed = |error: &dyn std::error::Error| {
        CliError::failed(format!("{}: {}", file.display(), error_chain(error)))
    };
    let folder = tempfile::tempdir().map_err(|error| failed(&error))?;
    let cache =
        ModuleCache::new(folder.path().join("cache"), rand::random(), ModuleCompiler::InProcess);
    let cache = cache.map_err(|error| failed(&error))?;
    let engine = ModuleEngine::new(local_limits(), &LOCAL_KEY).map_err(|error| failed(&error))?;
    engine.admit_module(&cache, wasm).await.map_err(|error| failed(&error))
}

/// Returns the limits for a local run: those of the most permissive server. Capabilities that the
/// manifest does not request are those of every module.
pub fn local_limits() -> ModuleLimits {
    ModuleLimits::with_ceilings(LimitCeilings {
        component: HARD_COMPONENT,
        memory: HARD_MEMORY,
        time: HARD_TIME,
        output: HARD_OUTPUT,
        log: HARD_LOG,
        reuse: HARD_REUSE,
    })
}

fn read_config(args: &RunArgs, schema: Option<&ConfigSchema>) -> Result<ModuleConfig, CliError> {
    let given = match &args.config_file {
        Some(path) => read_document(path)?,
        None => Value::Object(Map::new()),
    };
    let Value::Object(mut members) = given else {
        // The value is not quoted, because it may be a secret.
        return Err(CliError::failed("the configuration must be an object of keys and values"));
    };
    for pair in &args.config {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            CliError::Usage(format!("--config {pair}: write KEY=VALUE, such as least=100"))
        })?;
        members.insert(key.to_owned(), literal(value));
    }
    let config = members.into_iter().collect();
    let faults = schema.map(|schema| schema.check_config(&config)).unwrap_or_default();
    if let [fault, ..] = faults.as_slice() {
        let said = format!("the configuration does not fit: {}: {}", fault.path, fault.message);
        return Err(CliError::with_next(said, "look at `waybill module inspect FILE`"));
    }
    Ok(FlowModule { config, ..FlowModule::default() }.readable_config(schema))
}

/// Seed of random numbers. Nothing is secret here, and two trials on one event get the same
/// numbers.
const LOCAL_KEY: [u8; 32] = [0; 32];

fn read_event(path: &Path) -> Result<SampleEvent, CliError> {
    SampleEvent::read(&read_document(path)?).ok_or_else(|| {
        CliError::with_next(
            format!("{}: an event has `type` and `data`", path.display()),
            "start from `waybill event-type show invoice.paid --example`",
        )
    })
}

fn show_step(step: &ModuleStep, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    let reason = step.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let micros = step.micros;
    screen.print_line(format!(
        "{:<9}  {}{reason}  ({micros} µs)",
        step.role.name(),
        step.verdict.name()
    ))?;
    for line in &step.logs {
        let level = format!("{:?}", line.level).to_lowercase();
        let fields: Vec<String> =
            line.fields.iter().map(|(name, value)| format!("  {name}={value}")).collect();
        screen.print_line(format!("  {level:<5}  {}{}", line.message, fields.concat()))?;
    }
    Ok(())
}

fn show_end(
    end: &RunEnd,
    event: &SampleEvent,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    match end {
        RunEnd::Dropped { reason } => {
            screen.print_line(format!("\nthe event ends here: {reason}"))?;
        }
        RunEnd::Out(routed) => {
            for one in routed {
                show_routed(one, event, screen)?;
            }
        }
        RunEnd::Failed(_) => {}
    }
    Ok(())
}

fn show_routed(
    one: &RoutedEvent,
    event: &SampleEvent,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let kind = one.draft.as_ref().and_then(|draft| draft.kind.as_deref()).unwrap_or(&event.kind);
    let to = match &one.dispatches {
        None => "to every endpoint of the flow".to_owned(),
        Some(none) if none.is_empty() => "to none of the endpoints".to_owned(),
        Some(dispatches) => {
            let names: Vec<String> = dispatches
                .iter()
                .map(|to| match to.delay_seconds {
                    0 => to.destination.clone(),
                    seconds => format!("{} after {seconds} s", to.destination),
                })
                .collect();
            format!("to {}", names.join(", "))
        }
    };
    screen.print_line(format!("\n{kind} continues, {to}"))?;
    let own = one.dispatches.iter().flatten().filter_map(|to| to.data.as_deref());
    for data in one.draft.iter().map(|draft| draft.data.as_str()).chain(own) {
        screen.print_json(&literal(data))?;
    }
    Ok(())
}

/// Returns the run for programs: the steps and the resulting events.
fn as_json(run: &ModuleRun) -> Value {
    let routed = |one: &RoutedEvent| {
        let draft = one.draft.as_ref().map(|draft| {
            json!({
                "id": draft.id.to_string(), "type": draft.kind, "resource_id": draft.subject,
                "attributes": draft.attributes, "data": literal(&draft.data),
            })
        });
        let dispatches = one.dispatches.as_ref().map(|all| {
            let dispatch = |to: &crate::wasm::ModuleDispatch| {
                json!({
                    "endpoint": to.destination, "dedupe_key": to.dedupe_key,
                    "ordering_key": to.ordering_key, "delay_seconds": to.delay_seconds,
                    "attributes": to.attributes, "data": to.data.as_deref().map(literal),
                })
            };
            all.iter().map(dispatch).collect::<Vec<_>>()
        });
        json!({ "draft": draft, "dispatches": dispatches })
    };
    let (outcome, detail) = match &run.end {
        RunEnd::Dropped { reason } => ("dropped", json!(reason)),
        RunEnd::Out(all) => ("out", all.iter().map(routed).collect()),
        RunEnd::Failed(failure) => (failure.reason(), json!(failure.to_string())),
    };
    json!({ "steps": run.steps, "outcome": outcome, "detail": detail })
}
