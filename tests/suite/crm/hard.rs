//! Rare cases that were once wrong: a source that is created again, refused addresses, the short
//! lists.

use hyper::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::{Answer, World};

use super::{Crm, NEVER, SOURCE, happened, run_well, source};
use crate::support::{assert_problem, merged, problem, texts};

/// A password that must not be repeated.
const PASSWORD: &str = "hunter2-and-more";

/// Returns settings of a source that reads nothing, because it is paused.
fn paused(url: &str) -> Value {
    json!({"name": SOURCE, "kind": "database", "enabled": false, "database": {"url": url}})
}

fn assert_refused(answer: &Answer, place: &str) {
    let faults = problem(answer, 422);
    assert!(faults.iter().any(|(at, _)| at == place), "not named by {place}: {faults:?}");
    assert!(!answer.text().contains(PASSWORD), "{}", answer.text());
}

#[rstest]
#[tokio::test]
async fn a_source_that_is_made_again_repeats_what_happens_again(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(crm) = Crm::start().await else { return };
    let Some(world) = World::start(backend).await else { return };
    let mut expected = Vec::new();
    for _ in 0..2 {
        crm.change("UPDATE `tblleads` SET `status` = 2, `last_lead_status` = 0 WHERE `id` = 312;")
            .await;
        source(&world, &crm, &json!({})).await;
        crm.change("UPDATE `tblleads` SET `status` = 3, `last_lead_status` = 2 WHERE `id` = 312;")
            .await;
        crm.lead(400).await;
        run_well(&world).await;
        expected.extend(["lead.created#400", "lead.status_changed#312", "lead.updated#312"]);
        expected.sort_unstable();
        assert_eq!(happened(&world).await, expected, "the same again is told again");
        let path = format!("/api/v1/sources/{SOURCE}");
        let deleted = world.client().delete(&path).await.unwrap();
        assert_eq!(deleted.status, StatusCode::NO_CONTENT, "{}", deleted.text());
        crm.change("DELETE FROM `tblleads` WHERE `id` = 400;").await;
    }
}

/// A restored backup, or a row that somebody put back: the same row under the same key, with the
/// same time.
#[rstest]
#[tokio::test]
async fn a_row_that_is_put_back_is_told_again(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(crm) = Crm::start().await else { return };
    let Some(world) = World::start(backend).await else { return };
    source(&world, &crm, &json!({})).await;
    let mut expected = Vec::new();
    for _ in 0..2 {
        crm.lead(400).await;
        run_well(&world).await;
        crm.change("UPDATE `tblleads` SET `company` = 'Another' WHERE `id` = 400;").await;
        run_well(&world).await;
        crm.change("DELETE FROM `tblleads` WHERE `id` = 400;").await;
        run_well(&world).await;
        expected.extend(["lead.created#400", "lead.deleted#400", "lead.updated#400"]);
        expected.sort_unstable();
        assert_eq!(happened(&world).await, expected);
    }
}

#[tokio::test]
async fn an_address_can_say_how_it_is_encrypted_and_no_more() {
    let Some(world) = World::start(Sqlite).await else { return };
    let tail = format!("&password={PASSWORD}");
    let queries = [
        "charset=utf8mb4".to_owned(),
        format!("charset=utf8mb4;SET PASSWORD = '{PASSWORD}'"),
        format!("charset=utf8mb4%3BSET%20PASSWORD%20=%20'{PASSWORD}'"),
        format!("socket=/run/{PASSWORD}"),
        format!("password={PASSWORD}"),
        format!("ssl-ca=/etc/{PASSWORD}"),
        format!("timezone={PASSWORD}"),
        format!("ssl-mode={PASSWORD}"),
        format!("ssl-mode=REQUIRED{tail}"),
        format!("ssl-mode=REQUIRED#{PASSWORD}"),
        format!("ssl-mode=REQUIRED?{PASSWORD}"),
    ];
    let bad = queries.iter().map(|query| format!("mysql://waybill@127.0.0.1:1/perfex?{query}"));
    let more = [
        format!("mysql://waybill@127.0.0.1:1/perfex#{PASSWORD}"),
        format!("mysql://waybill@127.0.0.1:1/perfex/{PASSWORD}"),
        format!("mysql://waybill@127.0.0.1:1/perfex;{PASSWORD}"),
        format!("mysql://waybill@127.0.0.1:{PASSWORD}/perfex"),
        format!("mysql://waybill:{PASSWORD}@127.0.0.1:1/perfex?ssl-mode=REQUIRED"),
        format!("mysql://waybill:@{PASSWORD}@127.0.0.1:1/perfex"),
    ];
    for url in bad.chain(more) {
        let settings = merged(paused(&url), &json!({"secret": "x"}));
        let answer = world.client().post("/api/v1/sources", &settings).await.unwrap();
        assert_refused(&answer, "database.url");
        let document = json!({"sources": [settings]});
        let answer = world.client().put("/api/v1/config", &document).await.unwrap();
        assert_refused(&answer, "sources[0].database.url");
    }
    assert_eq!(world.get("/api/v1/sources").await, json!([]));
    for mode in ["DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"] {
        let settings = paused(&format!("mysql://waybill@127.0.0.1:1/perfex?ssl-mode={mode}"));
        let named = json!({"name": mode.to_lowercase().replace('_', "-"), "secret": "x"});
        world.post("/api/v1/sources", &merged(settings, &named)).await;
    }
    let calls = world.client().get("/api/v1/audit").await.unwrap();
    assert!(!calls.text().contains(PASSWORD) && !world.server().output().contains(PASSWORD));
}

#[tokio::test]
async fn no_other_address_gets_to_see_the_password() {
    let Some(world) = World::start(Sqlite).await else { return };
    let [here, there, elsewhere] = ["one", "two", "three"]
        .map(|host| paused(&format!("mysql://waybill@{host}.example.com:3306/perfex")));
    world.post("/api/v1/sources", &merged(here, &json!({"secret": PASSWORD}))).await;
    let path = format!("/api/v1/sources/{SOURCE}");
    let moved = json!({"database": there["database"]});
    assert_refused(&world.client().patch(&path, &moved).await.unwrap(), "secret");
    let with = merged(moved, &json!({"secret": PASSWORD}));
    let taken = world.client().patch(&path, &with).await.unwrap();
    assert_eq!(taken.status, StatusCode::OK, "{}", taken.text());

    let apply = async |source: &Value| {
        world.client().put("/api/v1/config", &json!({"sources": [source]})).await.unwrap()
    };
    assert_refused(&apply(&elsewhere).await, "sources[0].secret");
    let taken = apply(&merged(elsewhere, &json!({"secret": PASSWORD}))).await;
    assert_eq!(taken.status, StatusCode::OK, "{}", taken.text());
    let nightly = json!({"cron": "0 2 * * *", "event": "report.due"});
    let other = json!({"kind": "schedule", "database": null, "schedule": nightly});
    assert_refused(&world.client().patch(&path, &other).await.unwrap(), "kind");
    let shown = world.get(&path).await;
    assert_eq!(shown["database"]["url"], "mysql://waybill@three.example.com:3306/perfex");
}

#[tokio::test]
async fn long_rows_are_read_a_few_at_a_time_and_none_is_taken_for_gone() {
    let Some(crm) = Crm::start().await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    for id in 400..430 {
        crm.lead(id).await;
    }
    // Thirty megabytes, of which eight are read at once.
    let long = "UPDATE `tblleads` SET `description` = REPEAT('x', 1000000) WHERE `id` >= 400;";
    crm.change(long).await;
    let first = source(&world, &crm, &json!({"tables": ["leads"]})).await;
    assert_eq!(first["rows"], crm.keys("leads", "id").await.len(), "{first:#}");
    run_well(&world).await;
    assert_eq!(happened(&world).await, [""; 0]);
    crm.change("UPDATE `tblleads` SET `company` = 'Another' WHERE `id` = 425;").await;
    crm.change("DELETE FROM `tblleads` WHERE `id` = 410;").await;
    crm.lead(430).await;
    run_well(&world).await;
    let wanted = ["lead.created#430", "lead.deleted#410", "lead.updated#425"];
    assert_eq!(happened(&world).await, wanted);
}

/// The fixture's ids in each short list: path and ids.
const LISTS: [(&str, &[&str]); 11] = [
    ("currencies", &["1", "2"]),
    ("taxes", &["1"]),
    ("departments", &["1"]),
    ("payment-modes", &["1"]),
    ("ticket-statuses", &["1", "2", "3", "4", "5"]),
    ("ticket-priorities", &["1", "2", "3"]),
    ("lead-statuses", &["1", "2", "3"]),
    ("lead-sources", &["1", "2"]),
    ("contract-types", &["1"]),
    ("countries", &["83", "236"]),
    ("item-groups", &["1", "4"]),
];

async fn ask(world: &World, path: &str) -> Answer {
    world.client().send(Call::new(Method::GET, &format!("/api/v1/{path}"))).await.unwrap()
}

async fn ids(world: &World, path: &str) -> Vec<String> {
    let answer = ask(world, path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
    texts(&answer.data(), "id")
}

#[rstest]
#[tokio::test]
async fn the_short_lists_are_served_as_they_were_seen(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(crm) = Crm::start().await else { return };
    let Some(world) = World::start(backend).await else { return };
    source(&world, &crm, &json!({})).await;
    for (list, wanted) in LISTS {
        assert_eq!(ids(&world, list).await, wanted, "{list}");
        assert_eq!(ids(&world, &list.replace('-', "_")).await, wanted, "{list}");
        let backwards: Vec<&str> = wanted.iter().rev().copied().collect();
        assert_eq!(ids(&world, &format!("{list}?sort=-id")).await, backwards, "{list}");
        let shown = ask(&world, list).await;
        assert_eq!(shown.json()["meta"]["total"], wanted.len(), "{}", shown.text());
        assert!(!shown.text().contains(NEVER), "{}", shown.text());
        for (n, id) in wanted.iter().enumerate() {
            let one = ask(&world, &format!("{list}/{id}")).await;
            assert_eq!(one.data(), shown.data()[n], "{list}/{id}");
        }
        let none = ask(&world, &format!("{list}/777")).await;
        assert_problem(&none, StatusCode::NOT_FOUND, "777");
        assert_eq!(ids(&world, &format!("{list}?source={SOURCE}")).await, wanted);
        assert_eq!(ids(&world, &format!("{list}?source=other")).await, [""; 0]);
    }
    assert_eq!(ask(&world, "currencies/2").await.data()["name"], "EUR");
    assert_eq!(ask(&world, "countries/83").await.data()["iso2"], "DE");
    let only = ask(&world, "taxes?fields=taxrate").await;
    let row = json!({"id": "1", "taxrate": "24.00", "waybill_key": format!("{SOURCE}:1")});
    assert_eq!(only.data(), json!([row]));
    let only = ask(&world, "lead-statuses/3?fields=name").await;
    let row = json!({"id": "3", "name": "Qualified", "waybill_key": format!("{SOURCE}:3")});
    assert_eq!(only.data(), row);
    for (query, wanted) in [
        ("currencies?filter=name:EUR", vec!["2"]),
        ("currencies?filter[name]=EUR", vec!["2"]),
        ("ticket-statuses?sort=name", vec!["3", "5", "2", "4", "1"]),
        ("ticket-statuses?per_page=2&page=2", vec!["3", "4"]),
        ("ticket-statuses?sort=-id&filter[id.gte]=3", vec!["5", "4", "3"]),
    ] {
        assert_eq!(ids(&world, query).await, wanted, "{query}");
    }

    crm.change("INSERT INTO `tblcurrencies` (`id`, `symbol`, `name`) VALUES (3, '£', 'GBP');")
        .await;
    crm.change("DELETE FROM `tblcurrencies` WHERE `id` = 1;").await;
    run_well(&world).await;
    assert_eq!(ids(&world, "currencies").await, ["2", "3"], "and as they are seen next");
    let path = format!("/api/v1/sources/{SOURCE}");
    assert_eq!(world.client().delete(&path).await.unwrap().status, StatusCode::NO_CONTENT);
    assert_eq!(ids(&world, "currencies").await, [""; 0], "nobody has seen them any more");
}
