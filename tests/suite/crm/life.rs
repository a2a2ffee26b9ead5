//! The beginning of a source, its reads, trials, pause and resume.

use hyper::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::World;
use waybill_tests::rest::Call;

use super::{Crm, NEVER, SOURCE, first_run, happened, run_well, source};
use crate::support::merged;

/// Returns a statement that adds an invoice.
fn invoice(id: u32) -> String {
    format!(
        "INSERT INTO `tblinvoices` (`id`, `clientid`, `number`, `prefix`, `number_format`, `datecreated`, `date`, \
         `duedate`, `currency`, `subtotal`, `total_tax`, `total`, `adjustment`, `addedfrom`, `hash`, `status`, \
         `discount_type`, `sale_agent`) VALUES ({id}, 42, {id}, 'INV-', 1, '{{now}}', '{{today}}', '{{today+30}}', \
         2, '60.00', '14.40', '74.40', '0.00', 1, '{NEVER}', 1, '', 3);"
    )
}

#[rstest]
#[tokio::test]
async fn a_backfill_tells_of_each_row_once(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(crm) = Crm::start().await else { return };
    let Some(world) = World::start(backend).await else { return };
    let tables =
        [("clients", "userid", "customer"), ("leads", "id", "lead"), ("invoices", "id", "invoice")];
    let read: Vec<&str> = tables.iter().map(|(table, ..)| *table).collect();
    source(&world, &crm, &json!({"start": "backfill", "tables": read})).await;
    let mut expected = Vec::new();
    for (table, key, resource) in tables {
        let keys = crm.keys(table, key).await;
        assert!(!keys.is_empty(), "{table} has rows");
        expected.extend(keys.iter().map(|key| format!("{resource}.created#{key}")));
    }
    expected.sort();
    assert_eq!(happened(&world).await, expected);
    run_well(&world).await;
    assert_eq!(happened(&world).await, expected, "nothing again");
    crm.lead(400).await;
    run_well(&world).await;
    assert_eq!(happened(&world).await.len(), expected.len() + 1, "and then what is new");
}

#[tokio::test]
async fn only_the_tables_that_are_wanted_are_read() {
    let Some(crm) = Crm::start().await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let first = source(&world, &crm, &json!({"tables": ["invoices"]})).await;
    let invoices = crm.keys("invoices", "id").await.len();
    assert_eq!(first["rows"], invoices, "{first:#}");
    crm.lead(400).await;
    crm.change(&invoice(400)).await;
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["invoice.created#400"]);
}

#[tokio::test]
async fn tables_may_have_another_prefix() {
    let Some(crm) = Crm::start().await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    crm.change("CREATE TABLE `crm_leads` LIKE `tblleads`;").await;
    source(&world, &crm, &json!({"prefix": "crm_"})).await;
    crm.lead(400).await;
    crm.change(&super::lead(401).replace("`tbl", "`crm_")).await;
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["lead.created#401"]);
}

#[rstest]
#[tokio::test]
async fn a_trial_shows_an_event_and_leaves_no_trace(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(crm) = Crm::start().await else { return };
    let Some(world) = World::start(backend).await else { return };
    // Paused, so that nothing has been read before the trial.
    let settings =
        merged(crm.settings(&json!({"tables": ["invoices"]})), &json!({"enabled": false}));
    world.post("/api/v1/sources", &settings).await;
    let path = format!("/api/v1/sources/{SOURCE}");
    for _ in 0..2 {
        let call = Call::new(Method::POST, &format!("{path}/test"));
        let answer = world.client().send(call).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let would_be = answer.data();
        assert_eq!(
            (&would_be["type"], &would_be["resource"]),
            (&json!("invoice.created"), &json!("invoice"))
        );
        let id = would_be["resource_id"].as_str().unwrap().to_owned();
        assert!(crm.keys("invoices", "id").await.contains(&id), "{would_be:#}");
        assert_eq!(would_be["data"]["id"], id, "{would_be:#}");
        assert!(!answer.text().contains(NEVER), "{would_be:#}");
    }
    assert_eq!(happened(&world).await, [""; 0], "a trial captures nothing");
    let run = world.get(&path).await["run"].clone();
    assert_eq!((&run["started_at"], &run["finished_at"]), (&Value::Null, &Value::Null), "{run:#}");

    world.post(&format!("{path}/resume"), &json!({})).await;
    world.eventually(&path, |found| found["run"]["finished_at"].is_string()).await;
    run_well(&world).await;
    assert_eq!(happened(&world).await, [""; 0], "the first scan is still the first");
}

#[rstest]
#[tokio::test]
async fn a_paused_source_reads_nothing_and_then_what_it_missed(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(crm) = Crm::start().await else { return };
    let Some(world) = World::start(backend).await else { return };
    let often = json!({"every": "1s", "tables": ["leads"]});
    source(&world, &crm, &often).await;
    let path = format!("/api/v1/sources/{SOURCE}");
    let paused = world.post(&format!("{path}/pause"), &json!({})).await;
    assert_eq!(paused["enabled"], false);
    // A run may have begun at that moment; another source shows that time passes.
    let clock = merged(crm.settings(&often), &json!({"name": "clock"}));
    let mut before = first_run(&world, &clock).await;
    let rests = world.eventually(&path, |found| found["run"]["running"] != json!(true)).await;
    crm.lead(400).await;
    crm.change("UPDATE `tblleads` SET `lead_value` = '9200.00' WHERE `id` = 312;").await;
    for _ in 0..3 {
        let on = |found: &Value| found["run"]["finished_at"] != before["finished_at"];
        before = world.eventually("/api/v1/sources/clock", on).await["run"].clone();
    }
    let still = world.get(&path).await;
    assert_eq!(still["run"]["finished_at"], rests["run"]["finished_at"], "{still:#}");
    assert_eq!(happened(&world).await, [""; 0]);

    world.post(&format!("{path}/resume"), &json!({})).await;
    let on = |found: &Value| found["run"]["finished_at"] != rests["run"]["finished_at"];
    world.eventually(&path, on).await;
    assert_eq!(happened(&world).await, ["lead.created#400", "lead.updated#312"]);
}
