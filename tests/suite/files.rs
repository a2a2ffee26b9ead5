//! Endpoints of kind `file`: each delivery becomes a line of a file, in a folder that the
//! configuration permits.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use waybill_tests::Backend::Sqlite;
use waybill_tests::world::text;
use waybill_tests::{Settings, World};

use crate::support::{invoice, merged, problem};

/// Starts a world that may write into its folder `out`, with an endpoint that does.
async fn start(more: &Value) -> Option<(World, tempfile::TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let permit = |settings: &mut Settings| {
        let list = format!("[{:?}]", folder.path().to_str().unwrap());
        settings.set("channels.file_directories", &list);
    };
    let world = World::start_with(Sqlite, permit).await?;
    world.endpoint(&endpoint(&folder.path().join("out"), more)).await;
    Some((world, folder))
}

fn endpoint(folder: &Path, settings: &Value) -> Value {
    json!({
        "name": "warehouse", "kind": "file", "url": format!("file://{}", folder.display()),
        "settings": settings, "events": ["invoice.*"], "retry": {"schedule": vec!["100ms"; 50]},
    })
}

async fn capture(world: &World, numbers: std::ops::Range<u32>) {
    let events: Vec<Value> = numbers.map(invoice).collect();
    world.post("/api/v1/events", &json!(events)).await;
}

async fn settle(world: &World) {
    for status in ["pending", "leased"] {
        let path = format!("/api/v1/deliveries?limit=1&status={status}");
        world.eventually(&path, |found| *found == json!([])).await;
    }
}

/// Returns the names and texts of the files in a folder, sorted by name.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = std::fs::read_dir(folder.join("out"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_delivery_is_a_line_and_full_files_get_their_names() {
    let Some((world, folder)) = start(&json!({"max_bytes": 4096})).await else { return };
    // Lines that come together share a file, so they are sent in parts.
    for part in 0..10 {
        capture(&world, part * 10..part * 10 + 10).await;
        settle(&world).await;
    }
    let files = files(folder.path());
    let finished = files.iter().filter(|(name, _)| name.ends_with(".ndjson"));
    assert!(finished.clone().count() > 1, "{files:?}");
    let unfinished = files.iter().filter(|(name, _)| name.ends_with(".ndjson.part"));
    assert!(unfinished.clone().count() <= 1);
    let lines = finished.chain(unfinished).flat_map(|(_, text)| text.lines());
    let bodies: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(bodies.len(), 100);
    let ids: BTreeSet<String> = bodies.iter().map(|body| text(body, "delivery_id")).collect();
    assert_eq!(ids.len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_csv_file_has_a_header_and_runs_no_formula() {
    let columns =
        json!([{"name": "Number", "value": "data.id"}, {"name": "Note", "value": "data.note"}]);
    let settings = json!({"format": "csv", "columns": columns, "name": "crm"});
    let Some((world, folder)) = start(&settings).await else { return };
    let data = json!({"id": 1, "note": "=HYPERLINK(\"x\")"});
    world.event(&json!({"type": "invoice.paid", "data": data})).await;
    settle(&world).await;
    let delivery = text(&world.get("/api/v1/deliveries").await[0], "id");
    let files = files(folder.path());
    assert_eq!(files[0].0, format!("crm-{delivery}.csv.part"));
    let line = format!("{delivery},1,\"'=HYPERLINK(\"\"x\"\")\"");
    assert_eq!(files[0].1, format!("delivery_id,Number,Note\r\n{line}\r\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_waybill_is_killed_and_what_is_left_is_finished() {
    let Some((mut world, folder)) = start(&json!({})).await else { return };
    for round in 0..3 {
        capture(&world, round * 100..round * 100 + 100).await;
        world.kill9();
        world.restart();
    }
    settle(&world).await;
    let files = files(folder.path());
    let unfinished = files
        .iter()
        .filter(|(name, _)| Path::new(name).extension().is_some_and(|end| end == "part"))
        .count();
    assert!(unfinished <= 1, "{files:?}");
    let lines = files.iter().flat_map(|(_, text)| text.lines());
    let ids = lines.map(|line| text(&serde_json::from_str(line).unwrap(), "delivery_id"));
    assert_eq!(ids.collect::<BTreeSet<String>>().len(), 300);
}

#[tokio::test]
async fn no_folder_is_written_to_that_the_configuration_does_not_name() {
    let Some((world, folder)) = start(&json!({})).await else { return };
    let elsewhere = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
    for path in [elsewhere.path(), &link] {
        let name = json!({"name": format!("to {}", path.file_name().unwrap().display())});
        world.endpoint(&merged(endpoint(path, &json!({})), &name)).await;
    }
    capture(&world, 0..1).await;
    let tried = |found: &Value| {
        let deliveries = found.as_array().unwrap();
        deliveries.len() == 3 && deliveries.iter().all(|one| one["attempt_count"] != json!(0))
    };
    let deliveries = world.eventually("/api/v1/deliveries", tried).await;
    let mut delivered =
        deliveries.as_array().unwrap().iter().filter(|one| one["status"] == "delivered");
    assert_eq!(delivered.next().unwrap()["endpoint"], "warehouse");
    assert!(delivered.next().is_none());
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn without_permission_there_is_no_such_endpoint() {
    let Some(world) = World::start(Sqlite).await else { return };
    let refused = endpoint(Path::new("/var/tmp/out"), &json!({}));
    let answer = world.client().post("/api/v1/endpoints", &refused).await.unwrap();
    let errors = problem(&answer, 422);
    assert!(errors[0].1.contains("channels.file_directories"), "{errors:?}");
}
