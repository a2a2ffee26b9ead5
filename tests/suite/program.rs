//! The program from a shell: configuration, exit statuses, first start.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use waybill_tests::Backend::Sqlite;
use waybill_tests::world::binary;
use waybill_tests::{Client, Server, Settings, World};

use crate::support::{invoice, problem};

/// Runs the program to its end, which must come soon.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let folder = tempfile::TempDir::new().unwrap();
    let mut program = Command::new(binary())
        .args(arguments)
        // The demo must use the modules within the program.
        .env_remove("WAYBILL_GUESTS")
        .envs(environment.iter().copied())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while program.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            program.kill().unwrap();
            let output = program.wait_with_output().unwrap();
            panic!("{arguments:?} does not end: {}", complaint(&output));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    program.wait_with_output().unwrap()
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn bad_usage_ends_with_2() {
    for arguments in [&["serve", "--listen", "nowhere"][..], &["nothing"], &["serve", "--colour"]] {
        let output = run(arguments, &[]);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", complaint(&output));
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_known_one() {
    for (name, near) in [
        ("WAYBILL_DELIVERY__TIMEOUTS", "timeout"),
        ("WAYBILL_SERVER__MAXBODY", "max_body"),
        ("WAYBILL_SMRT__WINDOW", "smart"),
    ] {
        let output = run(&["serve", "--listen", "127.0.0.1:0"], &[(name, "5")]);
        let said = complaint(&output);
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert!(said.contains(name) && said.to_lowercase().contains(near), "{name}: {said}");
    }
}

#[test]
fn a_bad_value_is_named_with_its_place() {
    for (name, value) in [
        ("WAYBILL_DELIVERY__TIMEOUT", "soon"),
        ("WAYBILL_DELIVERY__ALLOW_NETWORKS", r#"["10.0.0.0/99"]"#),
        ("WAYBILL_DATABASE__URL", "mysql://x"),
        ("WAYBILL_SERVER__MAX_BODY", "much"),
    ] {
        let output = run(&["serve", "--listen", "127.0.0.1:0"], &[(name, value)]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(complaint(&output).contains(name), "{name}: {}", complaint(&output));
    }
}

#[test]
fn empty_and_guessable_secrets_are_refused_with_a_sentence() {
    for name in ["WAYBILL_ADMIN_TOKEN", "WAYBILL_SECRET_KEY"] {
        for (value, why) in [
            ("", "it is empty"),
            ("  ", "it is empty"),
            ("x", "can be guessed"),
            ("0123456", "can be guessed"),
            ("aaaaaaaaaaaaaaaaaaaaaaaa", "can be guessed"),
        ] {
            let output = run(&["serve", "--listen", "127.0.0.1:0"], &[(name, value)]);
            let said = complaint(&output);
            assert_eq!(output.status.code(), Some(2), "{name}={value:?}: {said}");
            assert!(said.contains(name) && said.contains(why), "{name}={value:?}: {said}");
        }
    }
}

#[test]
fn the_doctor_names_each_fault_and_ends_with_1() {
    let output = run(&["doctor", "--json"], &[("WAYBILL_DELIVERY__TIMEOUT", "soon")]);
    assert_eq!(output.status.code(), Some(1), "{}", complaint(&output));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["checks"][0]["result"], "failed");
    assert!(found["checks"][0]["found"].as_str().unwrap().contains("WAYBILL_DELIVERY__TIMEOUT"));

    let output = run(&["doctor", "--json", "--listen", "127.0.0.1:0"], &[]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |check: &str| {
        let checks = found["checks"].as_array().unwrap();
        checks.iter().find(|one| one["check"] == check).unwrap()["result"].clone()
    };
    for check in ["configuration", "secret key", "database", "port", "clock"] {
        assert_eq!(of(check), "well", "{check}: {found}");
    }
    // A checkout may be readable by others, which is a warning.
    assert_ne!(of("data directory"), "failed", "{found}");

    let file = tempfile::NamedTempFile::new().unwrap();
    let url = format!("sqlite:{}/waybill.db", file.path().display());
    let output = run(&["doctor", "--listen", "127.0.0.1:0", "--database", &url], &[]);
    assert_eq!(output.status.code(), Some(1), "{}", complaint(&output));
}

#[test]
fn a_failure_is_json_where_json_is_asked_for() {
    let line = ["endpoint", "list", "--server", "http://127.0.0.1:1", "--json"];
    let output = run(&line, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let said: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(said["error"]["message"], "no answer from http://127.0.0.1:1");
    let output = run(&["status", "--server", "http://127.0.0.1:1"], &[]);
    assert_eq!(output.status.code(), Some(3), "{}", complaint(&output));
}

#[test]
fn the_demo_runs_in_any_folder() {
    let output = run(&["demo", "--listen", "127.0.0.1:0", "--events", "0"], &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}\n{}", complaint(&output));
    assert!(said.contains("every signature fits") && said.contains("Open it:"), "{said}");
}

#[test]
fn a_database_that_cannot_be_used_ends_with_1() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let url = format!("sqlite:{}/waybill.db", file.path().display());
    let output = run(&["serve", "--listen", "127.0.0.1:0", "--database", &url], &[]);
    assert_eq!(output.status.code(), Some(1), "{}", complaint(&output));
    assert!(!complaint(&output).is_empty());
}

#[tokio::test]
async fn the_first_start_makes_a_token_and_shows_it_once() {
    let folder = tempfile::TempDir::new().unwrap();
    let url = format!("sqlite:{}", folder.path().join("w.db").display());
    let mut settings = Settings::new(&binary(), &url, folder.path());
    settings.environment.clear();
    let server = Server::start(&settings).unwrap();
    let line = server.wait_for_line(&["token"]).unwrap();
    let token = line.split_whitespace().last().unwrap().to_owned();
    let client = Client::new(server.address(), Some(&token));
    assert_eq!(client.get("/api/v1/auth/test").await.unwrap().status, 200, "{line}");
    drop(server);
    let server = Server::start(&settings).unwrap();
    assert!(!server.output().contains(&token), "only once");
    let client = Client::new(server.address(), Some(&token));
    assert_eq!(client.get("/api/v1/auth/test").await.unwrap().status, 200);
    let key = folder.path().join("waybill.key");
    let mode = std::os::unix::fs::PermissionsExt::mode(&key.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "the key file is its owner's alone");
}

#[tokio::test]
async fn a_secret_is_not_in_the_database_as_it_is() {
    let Some(mut world) = World::start(Sqlite).await else { return };
    let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let more = serde_json::json!({"secret": secret});
    let endpoint = crate::support::endpoint_with("a", "https://erp.example/", &more);
    world.endpoint(&endpoint).await;
    world.stop();
    for entry in std::fs::read_dir(world.folder()).unwrap().map(Result::unwrap) {
        if entry.path().is_file() {
            let bytes = std::fs::read(entry.path()).unwrap();
            let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
            assert!(!holds(&secret.as_bytes()[6..]), "{}", entry.path().display());
            assert!(
                !holds(waybill_tests::server::ADMIN_TOKEN.as_bytes()),
                "{}",
                entry.path().display()
            );
        }
    }
}

#[tokio::test]
async fn health_readiness_and_the_interface_need_no_token() {
    let Some(world) = World::start(Sqlite).await else { return };
    let nobody = world.client_with(None);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(nobody.get(path).await.unwrap().status, 200, "{path}");
    }
    let openapi = nobody.get("/openapi.json").await.unwrap().json();
    assert!(openapi["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths = openapi["paths"].as_object().unwrap();
    for path in [
        "/api/v1/auth/test",
        "/api/v1/events",
        "/api/v1/events/{id}",
        "/api/v1/events/{id}/replay",
        "/api/v1/event-types",
        "/api/v1/event-types/{name}",
        "/api/v1/endpoints",
        "/api/v1/endpoints/{id}",
        "/api/v1/endpoints/{id}/rotate-secret",
        "/api/v1/endpoints/{id}/test",
        "/api/v1/flows",
        "/api/v1/flows/{id}",
        "/api/v1/modules/{name}",
        "/api/v1/modules/{name}/versions/{version}/activate",
        "/api/v1/modules/{name}/run",
        "/api/v1/deliveries",
        "/api/v1/deliveries/{id}",
        "/api/v1/deliveries/{id}/replay",
        "/api/v1/deliveries/{id}/cancel",
        "/api/v1/dead-letters",
        "/api/v1/dead-letters/{id}/replay",
        "/api/v1/dead-letters/replay",
        "/api/v1/dead-letters/export",
    ] {
        assert!(paths.contains_key(path), "{path} is not described");
    }
    problem(&nobody.get("/api/v1/endpoints").await.unwrap(), 401);
}

#[tokio::test]
async fn every_described_operation_refuses_strangers() {
    let Some(mut world) = World::start(Sqlite).await else { return };
    let mut nobody = world.client_with(Some("wrong"));
    let openapi = nobody.get("/openapi.json").await.unwrap().json();
    let mut asked = 0;
    for (path, operations) in openapi["paths"].as_object().unwrap() {
        if !path.starts_with("/api/v1/") {
            continue;
        }
        for method in operations.as_object().unwrap().keys() {
            let Ok(method) = method.to_uppercase().parse::<hyper::Method>() else { continue };
            let known = ["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str());
            if known {
                let path = path.replace(['{', '}'], "");
                let call = waybill_tests::rest::Call::new(method, &path);
                problem(&nobody.send(call).await.unwrap(), 401);
                asked += 1;
                // An address that has failed a hundred times is slowed.
                if asked == 90 {
                    world.restart();
                    nobody = world.client_with(Some("wrong"));
                }
            }
        }
    }
    assert!(asked > 30, "{asked} operations were asked");
}

/// An operator who saves a stopped server may copy only its database, without the files beside it.
#[tokio::test]
async fn a_copy_of_a_stopped_server_s_file_is_a_copy_of_everything() {
    let Some(mut world) = World::start(Sqlite).await else { return };
    let id = world.event(&invoice(17)).await;
    world.stop();
    let saved = world.folder().join("saved");
    std::fs::create_dir(&saved).unwrap();
    for name in ["waybill.db", "waybill.key"] {
        std::fs::copy(world.folder().join(name), saved.join(name)).unwrap();
    }
    let copy = format!("sqlite:{}", saved.join("waybill.db").display());
    world.restart_with(|settings| settings.database = copy);
    assert_eq!(world.get(&format!("/api/v1/events/{id}")).await["data"]["id"], 17);
}

/// A service manager may change its mind at once.
#[tokio::test]
async fn a_server_that_is_told_to_stop_as_it_gets_ready_ends_in_order() {
    let Some(mut world) = World::start(Sqlite).await else { return };
    for _ in 0..20 {
        world.stop();
        world.restart();
    }
}

#[tokio::test]
async fn a_second_server_on_one_database_file_refuses_to_start() {
    let Some(mut world) = World::start(Sqlite).await else { return };
    let link = world.folder().join("link.db");
    std::os::unix::fs::symlink(world.folder().join("waybill.db"), &link).unwrap();
    let mut by_link = world.settings().clone();
    by_link.database = format!("sqlite:{}", link.display());
    for settings in [world.settings(), &by_link] {
        let refusal = Server::start(settings).unwrap_err().to_string();
        assert!(refusal.contains("is in use by another server; stop that one first"), "{refusal}");
    }
    world.event(&invoice(1)).await;
    // The lock ends with the process in every case.
    world.restart();
    world.event(&invoice(2)).await;
}
