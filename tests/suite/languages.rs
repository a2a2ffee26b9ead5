//! Modules in TypeScript and Python: the examples at work in the server, and new projects from
//! nothing to an active module.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hyper::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use waybill_tests::Backend::Sqlite;
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::world::{binary, skip};
use waybill_tests::{Receiver, Settings, World};

use crate::modules::upload;
use crate::support::{endpoint_with, merged};

const DEAD: &str = "/api/v1/dead-letters";

/// Names the folder with the compilers.
const TOOLS: &str = "WAYBILL_MODULE_TOOLS";

/// A folder like the repository, with copies of the examples that may be built in it.
struct Workshop {
    folder: TempDir,
    tools: PathBuf,
}

impl Workshop {
    fn open() -> Option<Self> {
        let Some(tools) = std::env::var_os(TOOLS).map(PathBuf::from) else {
            skip(&format!("{TOOLS} names no folder; `cargo xtask test` makes one"));
            return None;
        };
        let folder = TempDir::new().unwrap();
        for shared in ["guest-sdk-ts", "guest-sdk-python", "wit"] {
            std::os::unix::fs::symlink(repository().join(shared), folder.path().join(shared))
                .unwrap();
        }
        Some(Self { folder, tools })
    }

    /// Copies an example. Returns the project, which has its compiler.
    fn example(&self, path: &str) -> PathBuf {
        let project = self.folder.path().join(path);
        copy_folder(&repository().join(path), &project);
        self.equip(&project);
        project
    }

    /// Creates a project. Returns it with its compiler.
    fn new_project(&self, name: &str, language: &str) -> PathBuf {
        let made = ["module", "new", name, "--lang", language];
        run(self.folder.path(), &made);
        let project = self.folder.path().join(name);
        self.equip(&project);
        project
    }

    fn equip(&self, project: &Path) {
        let is_typescript = project.join("package.json").exists();
        let (tool, place) =
            if is_typescript { ("node_modules", "node_modules") } else { ("python", ".venv") };
        std::os::unix::fs::symlink(self.tools.join(tool), project.join(place)).unwrap();
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Copies the sources of a project, without what a build left in it.
fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if ["node_modules", ".venv", "dist", "__pycache__"].iter().any(|made| name == *made) {
            continue;
        }
        if path.is_dir() {
            copy_folder(&path, &to.join(name));
        } else {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

fn waybill(folder: &Path, arguments: &[&str]) -> Command {
    let mut program = Command::new(binary());
    program.args(arguments).current_dir(folder);
    program
}

fn told(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

/// Runs the program in a folder. It must succeed.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    let output = waybill(folder, arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", told(&output));
    output
}

/// Returns the number of the first line of a file that contains a text.
fn line_of(file: &Path, text: &str) -> usize {
    let source = std::fs::read_to_string(file).unwrap();
    source.lines().position(|line| line.contains(text)).unwrap() + 1
}

/// Starts a world with the example `tally` in a flow with two endpoints.
async fn with_tally() -> Option<(World, Receiver)> {
    let workshop = Workshop::open()?;
    let project = workshop.example("examples-ts/tally");
    run(&project, &["module", "test"]);
    run(&project, &["module", "build"]);
    let component = std::fs::read(project.join("dist/tally.wasm")).unwrap();
    let world = World::start(Sqlite).await?;
    let receiver = Receiver::start().await;
    let answer = upload(&world, "tally", component).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    assert_eq!(answer.data()["cases"]["passed"], 1, "{}", answer.text());
    for endpoint in ["sheet", "sales"] {
        let url = receiver.url(&format!("/{endpoint}"));
        world.endpoint(&endpoint_with(endpoint, &url, &json!({"events": []}))).await;
    }
    let config = json!({"thresholds": ["100.00"], "totals": "sheet", "alerts": "sales"});
    let flow = json!({"name": "tally", "events": ["payment.*"], "endpoints": ["sheet", "sales"],
                      "modules": [{"name": "tally", "config": config}]});
    world.post("/api/v1/flows", &flow).await;
    Some((world, receiver))
}

fn payment(more: &Value) -> Value {
    let data = json!({"id": "503", "amount": "60.05", "date": "2026-05-03",
                      "invoice": {"clientid": "42", "currency_name": "EUR"}});
    json!({"type": "payment.created", "data": merged(data, more)})
}

/// Waits for the dead letter of an event. Returns its reason and its detail.
async fn dead_letter(world: &World, event: &str) -> (String, String) {
    let is_there =
        |found: &Value| found.as_array().unwrap().iter().any(|one| one["event_id"] == event);
    let found = world.eventually(DEAD, is_there).await;
    let mut all = found.as_array().unwrap().iter();
    let dead = all.find(|one| one["event_id"] == event).unwrap();
    let text = |key: &str| dead[key].as_str().unwrap().to_owned();
    (text("reason"), text("detail"))
}

#[tokio::test]
async fn typescript_counts_in_state_logs_by_console_and_names_its_faults() {
    let Some((world, receiver)) = with_tally().await else { return };
    let first = world.event(&payment(&json!({}))).await;
    world.event(&payment(&json!({"amount": "-10.10"}))).await;
    world.event(&payment(&json!({"amount": 50.05, "note": "x".repeat(100 << 10)}))).await;
    let totals = receiver.wait_for("/sheet", 3).await;
    let mut totals: Vec<Value> = totals.iter().map(|one| one.json()["payload"].clone()).collect();
    totals.sort_by_key(|total| total["payments"].as_u64());
    let sums: Vec<_> = totals.iter().map(|one| one["total"].as_str().unwrap()).collect();
    assert_eq!(sums, ["60.05", "49.95", "100.00"], "{totals:#?}");
    assert_eq!(totals[2]["payments"], 3);
    let alert = receiver.first("/sales").await.json();
    assert_eq!([&alert["event"], &alert["resource_id"]], ["client.month_total", "42"]);
    assert_eq!(alert["payload"]["reached"], "100.00");
    let trace = world.get(&format!("/api/v1/events/{first}")).await;
    let line = &trace["steps"][0]["logs"][0];
    let said = [&line["level"], &line["message"]];
    assert_eq!(said, ["info", "client 42 paid 60.05 EUR in 2026-05"], "{trace:#}");
    let module = world.get("/api/v1/modules/tally").await;
    assert!(module.to_string().contains(r#""payments":3"#), "{module:#}");
    let thrown = world.event(&payment(&json!({"date": null}))).await;
    let source = repository().join("examples-ts/tally/src/module.ts");
    let line = line_of(&source, "payment.date.slice");
    assert_eq!(
        dead_letter(&world, &thrown).await,
        (
            "module_trap".to_owned(),
            format!(
                "module `tally`: the module trapped: TypeError: cannot read property 'slice' of null \
                 (src/module.ts:{line} in transform)"
            )
        )
    );
    let failed = world.event(&payment(&json!({"invoice": {}}))).await;
    let (reason, detail) = dead_letter(&world, &failed).await;
    assert_eq!(reason, "module_failure");
    let wanted = "no_client: the payment's invoice has no client (at `/invoice/clientid`)";
    assert!(detail.ends_with(wanted), "{detail}");
}

#[test]
fn a_new_typescript_project_is_tested_built_and_run() {
    let Some(workshop) = Workshop::open() else { return };
    let project = workshop.new_project("paid-lines", "ts");
    let tested = run(&project, &["module", "test"]);
    assert!(told(&tested).contains("small invoices end here"), "{}", told(&tested));
    let built = run(&project, &["module", "build", "--json"]);
    let report: Value = serde_json::from_slice(&built.stdout).unwrap();
    assert_eq!(report["exports"], json!(["filter", "transform"]), "{report:#}");
    let again = ["--event", "event.json", "--config", "least=100", "--repeat", "5", "--json"];
    let arguments = [&["module", "run", "dist/paid-lines.wasm"], &again[..]].concat();
    let ran: Value = serde_json::from_slice(&run(&project, &arguments).stdout).unwrap();
    assert_eq!([&ran["outcome"], &ran["times"]["runs"]], [&json!("out"), &json!(5)], "{ran:#}");
    let logs = &ran["steps"][1]["logs"];
    assert_eq!(logs[0]["message"], "INV-000128 is worth a message", "{ran:#}");
    // A fault in the types stops the build with the compiler's own message.
    let source = project.join("src/module.ts");
    let text = std::fs::read_to_string(&source).unwrap().replace(").total,", ").totals,");
    std::fs::write(&source, text).unwrap();
    let refused = waybill(&project, &["module", "build"]).output().unwrap();
    let told = told(&refused);
    assert!(!refused.status.success() && told.contains("src/module.ts"), "{told}");
    assert!(told.contains("Property 'totals' does not exist"), "{told}");
}

/// Builds a project and uploads it as the command line does.
fn push(world: &World, project: &Path, more: &[&str]) -> Output {
    let mut program = waybill(project, &[&["module", "push"], more].concat());
    program.env("WAYBILL_URL", world.server().address()).env("WAYBILL_TOKEN", ADMIN_TOKEN);
    program.output().unwrap()
}

/// A filter that the test adds to the example, so that one build shows a verdict, a failure, an
/// exception and what is printed.
const FILTER: &str = r#"

from waybill import drop, keep, permanent


def filter(event):
    value = event.data()["value"]
    print("looks at", value)
    if value == "-1":
        raise permanent("no_value", "the value is negative", "/value")
    return drop("it is worth nothing") if value == "0" else keep
"#;

/// The example `pii-mask` with that filter.
fn example_with_filter(workshop: &Workshop) -> PathBuf {
    let project = workshop.example("examples-python/pii-mask");
    run(&project, &["module", "test"]);
    let edit = |file: &str, change: &dyn Fn(String) -> String| {
        let text = std::fs::read_to_string(project.join(file)).unwrap();
        std::fs::write(project.join(file), change(text)).unwrap();
    };
    edit("module.py", &|text| text + FILTER);
    edit("waybill.manifest.toml", &|text| text.replace("roles = [", "roles = [\"filter\", "));
    project
}

#[tokio::test]
async fn python_masks_what_identifies_a_person_and_names_its_faults() {
    let Some(workshop) = Workshop::open() else { return };
    let project = example_with_filter(&workshop);
    let Some(narrow) = World::start(Sqlite).await else { return };
    let refused = told(&push(&narrow, &project, &[]));
    let wanted = "ask the server's operator to raise `modules.max_component`";
    assert!(refused.contains(wanted), "{refused}");
    drop(narrow);
    let large = |settings: &mut Settings| {
        settings.set("modules.max_component", "25165824");
    };
    let Some(world) = World::start_with(Sqlite, large).await else { return };
    let receiver = Receiver::start().await;
    let url = receiver.url("/sink");
    world.endpoint(&endpoint_with("sink", &url, &json!({"events": []}))).await;
    let pushed = push(&world, &project, &["dist/pii-mask.wasm", "--activate"]);
    assert!(pushed.status.success(), "{}", told(&pushed));
    let config = json!({"fields": ["firstname"], "keep_domain": true});
    let flow = json!({"name": "pii", "events": ["lead.*"], "endpoints": ["sink"],
                      "modules": [{"name": "pii-mask", "config": config}]});
    world.post("/api/v1/flows", &flow).await;
    let lead = |data: Value| json!({"type": "lead.created", "data": data});

    let long = "The customer asks for an offer. ".repeat(3200);
    let note = format!("{long}Call +30 694 555 0177, GR16 0110 1250 0000 0001 2300 695.");
    let data = json!({"firstname": "Eleni", "email": "eleni@harbour.example", "value": "480.00",
                      "note": note});
    let masked = world.event(&lead(data)).await;
    let payload = receiver.first("/sink").await.json()["payload"].clone();
    assert_eq!([&payload["firstname"], &payload["value"]], ["***", "480.00"]);
    assert_eq!(payload["email"], "***@harbour.example");
    assert_eq!(payload["note"], format!("{long}Call ***77, GR***0695."));
    let trace = world.get(&format!("/api/v1/events/{masked}")).await;
    let lines = [0, 1].map(|step| &trace["steps"][step]["logs"][0]["message"]);
    assert_eq!(lines, ["looks at 480.00", "masked 4 values"], "{trace:#}");

    let dropped = world.event(&lead(json!({"value": "0"}))).await;
    let path = format!("/api/v1/events/{dropped}");
    let trace = world.eventually(&path, |found| found["steps"][0].is_object()).await;
    let verdict = [&trace["steps"][0]["verdict"], &trace["steps"][0]["reason"]];
    assert_eq!(verdict, ["dropped", "it is worth nothing"], "{trace:#}");

    let failed = world.event(&lead(json!({"value": "-1"}))).await;
    let (reason, detail) = dead_letter(&world, &failed).await;
    assert_eq!(reason, "module_failure");
    assert!(detail.ends_with("no_value: the value is negative (at `/value`)"), "{detail}");

    let thrown = world.event(&lead(json!({}))).await;
    let (reason, detail) = dead_letter(&world, &thrown).await;
    let line = line_of(&project.join("module.py"), r#"event.data()["value"]"#);
    let wanted = format!("the module trapped: KeyError: 'value' (module.py:{line} in filter)");
    assert_eq!(reason, "module_trap");
    assert!(detail.ends_with(&wanted), "{detail}");
}

#[test]
fn a_new_python_project_is_tested() {
    let Some(workshop) = Workshop::open() else { return };
    let project = workshop.new_project("paid-lines", "python");
    let tested = told(&run(&project, &["module", "test"]));
    assert!(tested.contains("Ran 2 tests"), "{tested}");
}
