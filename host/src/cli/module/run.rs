//! `waybill module run`: runs one event through one component, without a server but with the
//! server's limits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::input::{literal, read_document};
use crate::cli::{CliError, CommandScreen};
use crate::error_chain::error_chain;
use crate::model::config_schema::ConfigSchema;
use crate::model::event::attribute_texts;
use crate::model::flow::{FlowModule, ModuleConfig};
use crate::model::module_manifest::{
    HARD_COMPONENT, HARD_LOG, HARD_MEMORY, HARD_OUTPUT, HARD_TIME,
};
use crate::wasm::{
    LimitCeilings, LoadedModule, ModuleCache, ModuleCompiler, ModuleEngine, ModuleInput,
    ModuleLimits, ModuleRun, ModuleStep, PATIENCE, RoutedEvent, RunEnd,
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
    /// Print JSON on a terminal too.
    #[arg(long)]
    json: bool,
}

pub async fn run_locally(args: &RunArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    screen.force_json(args.json);
    let event = SampleEvent::read(&args.event)?;
    let wasm = std::fs::read(&args.file).map_err(CliError::reading(&args.file))?;
    let module = admit_module(&args.file, &wasm).await?;
    let schema = module.report().manifest.as_ref().and_then(|manifest| manifest.config.as_ref());
    let config = Arc::new(read_config(args, schema)?);
    let attributes: Vec<(&str, &str)> =
        event.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let run = module.run(event.input(&attributes), &config).await;
    if screen.is_human() {
        for step in &run.steps {
            show_step(step, screen)?;
        }
        show_end(&run.end, &event, screen)?;
    } else {
        screen.print_json(&as_json(&run))?;
    }
    match run.end {
        RunEnd::Failed(failure) => {
            Err(CliError::failed(format!("{}: {failure}", failure.reason())))
        }
        RunEnd::Dropped { .. } | RunEnd::Out(_) => Ok(()),
    }
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

/// The event of the file, with substitutes for the members that the server would add.
struct SampleEvent {
    id: String,
    source: String,
    kind: String,
    resource: Option<String>,
    subject: Option<String>,
    time: String,
    attributes: Vec<(String, String)>,
    data: String,
}

impl SampleEvent {
    fn read(path: &Path) -> Result<Self, CliError> {
        let event = read_document(path)?;
        let text = |name: &str| event.get(name).and_then(Value::as_str).map(str::to_owned);
        let (Some(kind), Some(data)) = (text("type"), event.get("data")) else {
            return Err(CliError::with_next(
                format!("{}: an event has `type` and `data`", path.display()),
                "start from `waybill event-type show invoice.paid --example`",
            ));
        };
        Ok(Self {
            id: text("id").unwrap_or_else(|| "evt_00000000-0000-7000-8000-000000000000".to_owned()),
            source: text("source").unwrap_or_else(|| "local".to_owned()),
            resource: text("resource"),
            subject: text("resource_id"),
            time: text("occurred_at").unwrap_or_else(|| "2026-01-01T00:00:00.000Z".to_owned()),
            attributes: event.get("attributes").map(attributes).unwrap_or_default(),
            data: data.to_string(),
            kind,
        })
    }

    fn input<'a>(&'a self, attributes: &'a [(&'a str, &'a str)]) -> ModuleInput<'a> {
        let time = self.time.parse::<jiff::Timestamp>().unwrap_or_default();
        ModuleInput {
            id: &self.id,
            flow: "",
            source: &self.source,
            kind: &self.kind,
            resource: self.resource.as_deref(),
            subject: self.subject.as_deref(),
            time: &self.time,
            attempt: 1,
            changes: None,
            attributes,
            data: &self.data,
            received: Duration::from_secs(u64::try_from(time.as_second()).unwrap_or_default()),
            patience: PATIENCE,
        }
    }
}

/// Returns the attributes of an event's file in the form that a module reads.
fn attributes(given: &Value) -> Vec<(String, String)> {
    serde_json::value::to_raw_value(given).map(|raw| attribute_texts(&raw)).unwrap_or_default()
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
