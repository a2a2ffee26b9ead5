//! Tests of the parser, the texts of errors, and every REST command against a real server with a
//! real receiver.

pub mod server;

use clap::{CommandFactory as _, Parser as _};
use serde_json::json;

use super::error::{ProblemDocument, ProblemFault};
use super::input::SettingsArgs;
use super::{CliError, CommandLine, CommandScreen, run_command};

#[test]
fn the_parser_is_sound() {
    CommandLine::command().debug_assert();
}

#[test]
fn every_argument_is_described() {
    fn walk(command: &clap::Command) {
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
        }
        for inner in command.get_subcommands() {
            assert!(inner.get_about().is_some(), "{}", inner.get_name());
            walk(inner);
        }
    }
    let mut command = CommandLine::command();
    command.build();
    walk(&command);
}

#[test]
fn one_dead_letter_is_replayed_without_options_for_many() {
    let parse = |options: &[&str]| {
        let line = ["waybill", "dead-letter", "replay"].iter().chain(options);
        CommandLine::try_parse_from(line).map(drop)
    };
    parse(&["dlq_1"]).unwrap();
    parse(&["--all", "--dry-run", "--per-second", "5"]).unwrap();
    for options in [&["dlq_1", "--dry-run"][..], &["dlq_1", "--per-second", "5"]] {
        let refused = parse(options).unwrap_err();
        assert_eq!(refused.kind(), clap::error::ErrorKind::ArgumentConflict, "{options:?}");
    }
}

#[test]
fn serve_options_become_overrides() {
    let cli = CommandLine::try_parse_from(["waybill", "serve", "--listen", "127.0.0.1:1"]).unwrap();
    let super::CliCommand::Serve(args) = cli.command else { panic!("not serve") };
    let keys: Vec<&str> = args.overrides().iter().map(|given| given.key).collect();
    assert_eq!(keys, ["server.listen"]);
}

#[test]
fn a_problem_reads_as_sentences_with_a_next_step() {
    let errors =
        vec![ProblemFault { path: "events[2].type".into(), message: "is no dotted name".into() }];
    let (title, detail) = ("Invalid input".into(), "One event is wrong.".into());
    let problem =
        ProblemDocument { title, status: 422, detail, errors, request_id: Some("r1".into()) };
    assert_eq!(
        CliError::Problem(Box::new(problem)).to_string(),
        "Invalid input (422)\n  One event is wrong.\n  events[2].type: is no dotted name\n\
         next: correct the input as said above and run the command again"
    );
    let broken = ProblemDocument {
        status: 500,
        request_id: Some("r1".into()),
        ..ProblemDocument::default()
    };
    assert!(broken.to_string().ends_with("request: r1"));
}

#[test]
fn exit_codes_tell_bad_usage_from_failure() {
    assert_eq!(CliError::Usage(String::new()).exit_code(), 2);
    assert_eq!(CliError::failed("x").exit_code(), 1);
}

#[test]
fn an_error_for_programs_has_message_status_and_next_step() {
    let failed = CliError::with_next("it is full", "make room").to_json();
    assert_eq!(
        failed,
        json!({"error": {"message": "it is full", "exit_status": 1, "next": "make room"}})
    );
    let errors = vec![ProblemFault { path: "url".into(), message: "is not a URL".into() }];
    let problem =
        ProblemDocument { title: "Invalid".into(), status: 422, errors, ..Default::default() };
    let refused = CliError::Problem(Box::new(problem)).to_json();
    assert_eq!(refused["error"]["message"], "Invalid");
    assert_eq!(refused["error"]["problem"]["errors"][0]["path"], "url");
    let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
    let unread = CliError::reading(std::path::Path::new("x.yaml"))(missing).to_json();
    assert_eq!(unread["error"]["message"], "cannot read x.yaml");
    assert_eq!(unread["error"]["causes"].as_array().unwrap().len(), 1);
}

#[test]
fn a_command_that_asks_for_json_is_known() {
    let wants = |line: &[&str]| {
        super::wants_json(&CommandLine::command().get_matches_from([&["waybill"], line].concat()))
    };
    assert!(wants(&["endpoint", "list", "--json"]) && wants(&["doctor", "--json"]));
    assert!(!wants(&["endpoint", "list"]) && !wants(&["serve"]));
}

/// Returns the settings that these options make.
fn settings(options: &[&str]) -> Result<serde_json::Value, CliError> {
    #[derive(clap::Parser)]
    struct Only {
        #[command(flatten)]
        settings: SettingsArgs,
    }
    let parsed = Only::try_parse_from(std::iter::once(&"x").chain(options)).unwrap();
    parsed.settings.object(vec![("name", Some(json!("erp")))])
}

#[test]
fn settings_come_from_file_options_and_set() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("endpoint.yaml");
    std::fs::write(&file, "name: old\ntimeout: 5s\nretry:\n  jitter: 0.5\n").unwrap();
    let file = file.to_str().unwrap();
    let made =
        settings(&["--from", file, "--set", "retry.jitter=0.1", "--set", "ordered=true"]).unwrap();
    assert_eq!(
        made,
        json!({ "name": "erp", "timeout": "5s", "retry": { "jitter": 0.1 }, "ordered": true })
    );
    assert_eq!(settings(&["--set", "a.b.c=x y"]).unwrap()["a"]["b"]["c"], "x y");
    assert_eq!(settings(&["--set", "oops"]).unwrap_err().exit_code(), 2);
    assert_eq!(settings(&["--set", "name.first=1"]).unwrap_err().exit_code(), 2);
    let broken = folder.path().join("broken.toml");
    std::fs::write(&broken, "a = ").unwrap();
    let said = settings(&["--from", broken.to_str().unwrap()]).unwrap_err().to_string();
    assert!(said.contains("broken.toml"), "{said}");
}

#[test]
fn a_broken_file_is_described_without_its_secrets() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text, place) in [
        ("a.toml", "name = \"erp\"\nsecret = \"whsec_hidden\n", "line 2 column"),
        ("b.toml", "name = \"erp\"\nsecret = whsec_hidden\n", "line 2 column 10"),
        ("c.toml", "secret = \"whsec_hidden\" url = 1\n", "line 1 column"),
        ("a.json", "{\n\"secret\": \"whsec_hidden\" \"url\": 1}", "line 2 column"),
        ("b.json", "{\n\"secret\": whsec_hidden}", "line 2 column"),
        ("a.yaml", "name: erp\nsecret: \"whsec_hidden\n", "line "),
        ("b.yaml", "name: erp\nsecret: [whsec_hidden\n", "line "),
    ] {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let said = settings(&["--from", file.to_str().unwrap()]).unwrap_err().to_string();
        assert!(said.contains(name) && said.contains(place), "{said}");
        assert!(!said.contains("hidden"), "{said}");
    }
}

/// Runs a command line as a person would, and returns its output.
async fn typed(line: &[&str]) -> Result<String, CliError> {
    let cli = CommandLine::try_parse_from(std::iter::once(&"waybill").chain(line)).unwrap();
    let mut out = Vec::new();
    let ended = run_command(cli.command, &mut CommandScreen::new(&mut out, true)).await;
    ended.map(|()| String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn the_catalogue_needs_no_server() {
    let list = typed(&["event-type", "list", "--resource", "payment"]).await.unwrap();
    assert!(list.contains("payment.received") && !list.contains("invoice."), "{list}");
    let example = typed(&["event-type", "show", "lead.converted", "--example"]).await.unwrap();
    let event: serde_json::Value = serde_json::from_str(&example).unwrap();
    assert_eq!(event["type"], "lead.converted");
    assert_eq!(event["resource_id"], "311");
    let missing = typed(&["event-type", "show", "invoice.payed"]).await.unwrap_err().to_string();
    assert!(missing.contains("was `invoice.paid` meant?"), "{missing}");
}

#[tokio::test]
async fn nobody_there_is_said_with_a_next_step() {
    let line = ["endpoint", "list", "--server", "http://127.0.0.1:1"];
    let said = typed(&line).await.unwrap_err().to_string();
    assert!(said.contains("no answer from http://127.0.0.1:1\nnext: start the server"), "{said}");
}
