//! Hostile components: mutated and crafted ones are admitted or refused with a sentence, within the
//! server's memory, and a compilation that takes long holds no event up.

mod crafted;
mod mutations;

use hyper::StatusCode;
use serde_json::json;
use waybill_tests::Backend::Sqlite;
use waybill_tests::rest::Call;
use waybill_tests::world::{guest, leb128, with_manifest};
use waybill_tests::{Receiver, World};

use crate::bounds::assert_small;
use crate::modules::order;
use crate::support::{announce, endpoint_with, problem};
use mutations::SeededNumbers;

const MUTANT: &str = "/api/v1/modules/mutant";

/// A hostile upload, and what it is.
type HostileUpload = (String, Vec<u8>);

/// What became of the uploads.
#[derive(Default)]
struct UploadCounts {
    admitted: usize,
    refused: usize,
}

/// Starts a world with a flow whose module works.
async fn start() -> Option<(World, Receiver)> {
    let component = guest("hostile")?;
    let world = World::start(Sqlite).await?;
    let receiver = Receiver::start().await;
    let answer = crate::modules::upload(&world, "hostile", component).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    let sink = endpoint_with("sink", &receiver.url("/sink"), &json!({"events": []}));
    world.endpoint(&sink).await;
    let flow = json!({"name": "f", "events": ["hostile.*"], "modules": [{"name": "hostile"}],
        "endpoints": ["sink"]});
    world.post("/api/v1/flows", &flow).await;
    Some((world, receiver))
}

/// Uploads a component. A refusal must say why; one that is admitted must be able to run or fail.
async fn try_upload(world: &World, (what, component): HostileUpload, counts: &mut UploadCounts) {
    let call = Call::post(MUTANT, "application/wasm", component);
    let answer = world.client().send(call).await;
    let answer = answer.unwrap_or_else(|error| panic!("{what}: no answer: {error:#}"));
    if answer.status == StatusCode::CREATED {
        counts.admitted += 1;
        let version = answer.data()["version"].clone();
        let event = order(&json!({"do": "echo"}));
        let run = json!({"version": version, "event": event});
        let ran = world.client().post(&format!("{MUTANT}/run"), &run).await.unwrap();
        assert!(ran.status.is_success() || ran.status == 422, "{what}: {}", ran.text());
        return;
    }
    counts.refused += 1;
    let status = answer.status.as_u16();
    assert!([409, 413, 422].contains(&status), "{what}: {status}: {}", answer.text());
    let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
    let said = match status {
        413 => detail,
        _ => problem(&answer, status).into_iter().map(|(_, message)| message).collect(),
    };
    assert!(said.len() > 10, "{what} is refused without a reason: {}", answer.text());
}

/// Uploads all, and checks that the same process still serves events afterwards.
async fn withstand(uploads: Vec<HostileUpload>, at_least: usize, case: &str) {
    let Some((world, receiver)) = start().await else { return };
    let (pid, mut counts, count) = (world.server().pid(), UploadCounts::default(), uploads.len());
    assert!(count >= at_least, "{count} uploads");
    for upload in uploads {
        try_upload(&world, upload, &mut counts).await;
    }
    let UploadCounts { admitted, refused } = counts;
    announce(&format!("{case}: {admitted} admitted, {refused} refused"));
    assert!(refused > 0, "{case}: nothing was refused");
    world.event(&order(&json!({"do": "echo"}))).await;
    receiver.first("/sink").await;
    assert_eq!(world.server().pid(), pid);
    assert_small(&world, case);
}

#[tokio::test]
async fn mutated_components_are_admitted_or_refused_and_nothing_else() {
    let Some(component) = guest("hot-leads") else { return };
    let mut numbers = SeededNumbers::new(14);
    withstand(mutations::of_component(&component, &mut numbers), 200, "mutated components").await;
}

#[tokio::test]
async fn mutated_manifests_are_read_or_refused_with_their_place() {
    let Some(component) = guest("hot-leads") else { return };
    let manifest = json!({
        "name": "mutant", "version": "1.2.0", "description": "Takes leads.",
        "roles": ["filter", "route"],
        "capabilities": {"state": {"scope": "record", "keys": 500}, "http": ["api.example.com"],
            "secrets": ["key"], "emit": ["lead.*"], "counters": ["seen"], "deliveries": true,
            "records": {"indexes": [{"resource": "contact", "field": "email"}]}},
        "config": {"type": "object", "required": ["threshold"],
            "properties": {"threshold": {"type": "number", "default": 1}}},
        "limits": {"memory_mib": 32, "time_ms": 50, "output_kib": 64, "log_kib": 8},
        "cases": [{"name": "one", "event": {"type": "lead.created", "data": {"id": 1}}}],
    });
    let mut numbers = SeededNumbers::new(15);
    let mut uploads = mutations::of_manifest(&component, &manifest, &mut numbers);
    uploads.extend(crafted::manifests(&component));
    withstand(uploads, 100, "mutated manifests").await;
}

#[tokio::test]
async fn crafted_components_stay_within_the_limits() {
    let Some(component) = guest("hot-leads") else { return };
    withstand(crafted::components(&component), 20, "crafted components").await;
}

/// The compilation takes seconds, or as much memory as it may. Events that come meanwhile are
/// delivered before it ends.
#[tokio::test]
async fn a_slow_compilation_holds_no_event_up() {
    let Some((world, receiver)) = start().await else { return };
    let Some(component) = guest("hot-leads") else { return };
    let slow = crafted::slow_to_compile(&component);
    let client = world.client().clone();
    let upload = tokio::spawn(async move {
        client.send(Call::post(MUTANT, "application/wasm", slow)).await.unwrap()
    });
    let mut delivered = 0;
    while !upload.is_finished() && delivered < 20 {
        world.event(&order(&json!({"do": "echo"}))).await;
        receiver.wait_for("/sink", delivered + 1).await;
        delivered += usize::from(!upload.is_finished());
    }
    assert!(delivered > 0, "the compilation ended before an event was delivered");
    let answer = upload.await.unwrap();
    let told = answer.text();
    announce(&format!("{delivered} events delivered meanwhile; the upload: {}", answer.status));
    assert!(answer.status == StatusCode::CREATED || answer.status == 422, "{told}");
    assert_small(&world, "a slow compilation");
}
