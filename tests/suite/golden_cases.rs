//! `waybill module test --cases`: golden files of compiled modules.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;
use waybill_tests::world::{binary, guest, with_manifest};

/// A component in a folder of its own, with a folder for cases.
struct GoldenFolder(TempDir);

impl GoldenFolder {
    fn new(component: &[u8]) -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("module.wasm"), component).unwrap();
        std::fs::create_dir(folder.path().join("cases")).unwrap();
        Self(folder)
    }

    fn of_guest(name: &str, capabilities: &Value) -> Option<Self> {
        let manifest = json!({"name": name, "capabilities": capabilities});
        Some(Self::new(&with_manifest(guest(name)?, &manifest)))
    }

    fn case(&self, name: &str) -> PathBuf {
        self.0.path().join("cases").join(format!("{name}.json"))
    }

    fn write_case(&self, name: &str, case: &Value) {
        std::fs::write(self.case(name), case.to_string()).unwrap();
    }

    fn read_case(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.case(name)).unwrap()).unwrap()
    }

    fn run(&self, more: &[&str]) -> Output {
        run_cases(&self.0.path().join("module.wasm"), &self.0.path().join("cases"), more)
    }

    /// Writes the results of all cases, and returns that of one.
    fn golden(&self, name: &str) -> Value {
        let output = self.run(&["--update"]);
        assert!(output.status.success(), "{output:?}");
        self.read_case(name)["expected"].clone()
    }
}

fn run_cases(component: &Path, cases: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(["module", "test"]).arg(component).arg("--cases").arg(cases).args(more);
    command.output().unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Returns an example's component with its manifest.
pub(crate) fn example(name: &str) -> Option<Vec<u8>> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("module.wasm");
    std::fs::write(&file, guest(name)?).unwrap();
    let manifest = root().join("examples-wasm").join(name).join("waybill.manifest.toml");
    let mut embed = Command::new(binary());
    embed.args(["module", "embed"]).arg(&file).arg("--manifest").arg(manifest);
    let output = embed.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    Some(std::fs::read(&file).unwrap())
}

#[test]
fn every_example_does_what_its_cases_expect() {
    let mut checked = 0;
    for entry in std::fs::read_dir(root().join("examples-wasm")).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.join("cases").is_dir() {
            continue;
        }
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let Some(component) = example(&name) else { return };
        let file = GoldenFolder::new(&component).0;
        let ran = run_cases(&file.path().join("module.wasm"), &folder.join("cases"), &[]);
        let told = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success(), "{name}:\n{told}{}", String::from_utf8_lossy(&ran.stderr));
        checked += 1;
    }
    assert!(checked >= 3, "{checked} examples have cases");
}

#[test]
fn a_mismatch_is_shown_line_by_line_and_an_update_takes_it_over() {
    let Some(folder) = GoldenFolder::of_guest("hostile", &json!({})) else { return };
    let event = |data: Value| json!({"type": "hostile.order", "data": data});
    let routed = json!({"do": "route", "to": ["sink"], "payload": {"n": 1, "kept": "x"}});
    folder.write_case("a", &json!({"event": event(routed)}));
    folder.write_case("b", &json!({"event": event(json!({"do": "drop"}))}));
    folder.write_case("c", &json!({"event": event(json!({"do": "fail_permanent"}))}));
    folder.write_case("d", &json!({"event": event(json!({"do": "split", "count": 2}))}));

    let without = folder.run(&["--json"]);
    assert_eq!(without.status.code(), Some(1), "{without:?}");
    assert_eq!(report(&without)["failed"], 4);
    assert_eq!(
        report(&folder.run(&["--update", "--json"]))["written"],
        json!(["a", "b", "c", "d"])
    );
    assert_eq!(
        report(&folder.run(&["--json"])),
        json!({
            "passed": 4, "failed": 0, "written": [], "failures": [],
        })
    );
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| folder.read_case(name)["expected"].clone());
    let roles = json!([{"role": "filter", "verdict": "kept"},
        {"role": "transform", "verdict": "transformed"}, {"role": "route", "verdict": "routed"}]);
    assert_eq!([&a["end"], &a["roles"]], [&json!("out"), &roles], "{a:#}");
    assert_eq!(a["out"][0]["dispatches"][0]["data"], json!({"n": 1, "kept": "x"}));
    assert_eq!([&b["end"], &b["reason"]], ["dropped", "told to"]);
    assert_eq!([&c["end"], &c["reason"]], ["failed", "module_failure"]);
    assert_eq!(d["out"].as_array().unwrap().len(), 2, "{d:#}");

    let mut changed = folder.read_case("a");
    changed["expected"]["out"][0]["dispatches"][0]["data"]["n"] = json!(2);
    folder.write_case("a", &changed);
    let differs = report(&folder.run(&["--json"]));
    let failure = &differs["failures"][0];
    assert_eq!([&failure["name"], &failure["at"]], ["a", "/out/0/dispatches/0/data/n"]);
    let diff = failure["diff"].as_str().unwrap();
    let lines: Vec<&str> =
        diff.lines().filter(|line| line.starts_with(['-', '+'])).map(str::trim_end).collect();
    assert_eq!(lines.len(), 4, "{diff}");
    assert!(lines[2].ends_with("\"n\": 2") && lines[3].ends_with("\"n\": 1"), "{diff}");
    assert!(folder.run(&["--update"]).status.success());
    assert!(folder.run(&[]).status.success());
}

#[test]
fn a_case_gives_state_records_answers_and_secrets_and_tells_what_changed() {
    let capabilities = json!({"state": {}, "http": ["api.example.com"], "secrets": ["key"],
        "emit": ["fact.*"], "counters": ["made"], "deliveries": true,
        "records": {"indexes": [{"resource": "contact", "field": "email"}]}});
    let Some(folder) = GoldenFolder::of_guest("caller", &capabilities) else { return };
    let url = "https://api.example.com/a";
    let calls = json!([
        {"call": "increment", "key": "turn", "by": 1}, {"call": "get", "key": "other"},
        {"call": "find", "resource": "contact", "field": "email", "value": "a@example.com"},
        {"call": "record", "resource": "contact", "id": "9"}, {"call": "send", "value": url},
        {"call": "hmac", "key": "key", "value": "x"},
        {"call": "emit", "kind": "fact.made", "value": "{\"n\":1}"},
        {"call": "cancel", "key": "reminder"}, {"call": "count", "key": "made", "by": 2},
    ]);
    let event = json!({"type": "call.order", "source": "crm", "data": {"calls": calls}});
    let again =
        json!([{"call": "increment", "key": "turn", "by": 1}, {"call": "send", "value": url}]);
    let again =
        json!({"type": "call.order", "source": "crm", "data": {"calls": again, "catch": true}});
    folder.write_case(
        "all",
        &json!({
            "events": [event, again],
            "state": {"turn": 4},
            "records": [{"source": "crm", "resource": "contact", "id": "9",
                "data": {"email": "a@example.com"}}],
            "answers": [{"url": url, "status": 201}],
            "secrets": {"key": {"value": "k"}},
        }),
    );
    let results = folder.golden("all");
    let first = &results[0];
    let mac = crate::support::hex_mac("k", b"x");
    let answers = &first["out"][0]["draft"]["data"]["answers"];
    assert_eq!(
        answers.as_array().unwrap()[..6],
        [
            json!(5.0),
            json!(null),
            json!(["9"]),
            json!("{\"email\":\"a@example.com\"}"),
            json!(201),
            json!(mac),
        ],
        "{first:#}"
    );
    assert_eq!(first["requests"], json!([{"method": "GET", "url": url}]));
    assert_eq!(first["emitted"][0]["data"], json!({"n": 1}));
    assert_eq!(
        [&first["cancelled"], &first["counters"]],
        [&json!(["reminder"]), &json!({"made": 2})]
    );
    assert_eq!(first["state"], json!({"turn": 5}));
    let second = &results[1];
    assert_eq!(second["state"], json!({"turn": 6}), "the state stays: {second:#}");
    let code = &second["out"][0]["draft"]["data"]["answers"][1]["code"];
    assert_eq!(code, "not_recorded", "each answer is given once");
}

#[test]
fn a_case_grants_nothing_that_the_manifest_does_not_ask_for() {
    let Some(none) = GoldenFolder::of_guest("caller", &json!({})) else { return };
    let calls = json!([{"call": "get", "key": "turn"}]);
    let event = json!({"type": "call.order", "data": {"calls": calls, "catch": true}});
    none.write_case("denied", &json!({"event": event, "state": {"turn": 4}}));
    let answer = &none.golden("denied")["out"][0]["draft"]["data"]["answers"][0];
    assert_eq!(answer["code"], "denied");
}

#[test]
fn a_channel_is_run_until_it_knows_what_came_of_it() {
    let capabilities = json!({"http": ["api.example.com"], "emit": ["fact.*"]});
    let Some(folder) = GoldenFolder::of_guest("courier", &capabilities) else { return };
    let event = |data: Value| json!({"type": "order.made", "data": data});
    let config = json!({"base": "https://api.example.com"});
    let first = json!({"method": "POST", "url": "https://api.example.com/first"});
    folder.write_case(
        "delivered",
        &json!({
            "event": event(json!({"next": ["/second"], "emit": "fact.sent"})), "config": config,
            "delivery": {"endpoint": "shop", "attempt": 2},
            "answers": [first, {"url": "https://api.example.com/second", "body": {"id": "77"}}],
        }),
    );
    folder.write_case("down", &json!({
        "event": event(json!({})), "config": config,
        "answers": [{"method": "POST", "url": "https://api.example.com/first", "fails": "timeout"}],
    }));
    let delivered = folder.golden("delivered");
    assert_eq!(
        [&delivered["end"], &delivered["receiver_id"]],
        ["delivered", "77"],
        "{delivered:#}"
    );
    let requests = delivered["requests"].as_array().unwrap();
    assert_eq!(requests.len(), 2);
    assert_eq!(
        [&requests[0]["body"]["endpoint"], &requests[0]["body"]["attempt"]],
        [&json!("shop"), &json!(2)]
    );
    assert_eq!(delivered["emitted"][1]["data"], json!({"statuses": [200, 200]}));
    let down = folder.read_case("down")["expected"].clone();
    assert_eq!([&down["end"], &down["reason"]], ["failed", "module_failure"], "{down:#}");
    assert!(down["detail"].as_str().unwrap().contains("timeout"), "{down:#}");
}

#[test]
fn a_case_that_cannot_be_run_fails_and_says_why() {
    let Some(folder) = GoldenFolder::of_guest("hostile", &json!({})) else { return };
    folder.write_case("typo", &json!({"event": {"type": "a.b", "data": {}}, "confg": {}}));
    folder.write_case("dataless", &json!({"event": {"type": "a.b"}}));
    for more in [vec!["--json"], vec!["--json", "--update"]] {
        let output = folder.run(&more);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let failures = report(&output)["failures"].clone();
        assert!(failures[0]["why"].as_str().unwrap().contains("`data`"), "{failures:#}");
        assert!(failures[1]["why"].as_str().unwrap().contains("`confg`"), "{failures:#}");
    }
}
