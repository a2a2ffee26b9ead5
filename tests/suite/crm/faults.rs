//! A fault of a CRM's database is reported in a sentence, without the password, and loses nothing.

use serde_json::{Value, json};
use waybill_tests::Backend::Sqlite;
use waybill_tests::world::skip;
use waybill_tests::{MariaDatabase, MariaDb, World};

use super::{Crm, SOURCE, first_run, happened, run_well, source};
use crate::poll;
use crate::support::{merged, problem};

/// A wrong password, which must not be repeated either.
const WRONG: &str = "a-wrong-password";

/// Returns the error of a run. Fails the test unless it is a sentence with all of these words and
/// no secret.
fn complaint(crm: &Crm, run: &Value, words: &[&str]) -> String {
    let error = run["error"].as_str().unwrap_or_else(|| panic!("no error: {run:#}")).to_owned();
    assert!(error.split(' ').count() > 3, "that is no sentence: {error}");
    for word in words {
        assert!(error.contains(word), "`{word}` is not named: {error}");
    }
    for secret in [WRONG, &crm.database.password()] {
        assert!(!run.to_string().contains(secret), "{run:#}");
    }
    error
}

/// Checks that neither the API nor the log shows the password.
async fn assert_kept_secret(world: &World, crm: &Crm) {
    for path in ["/api/v1/sources", &format!("/api/v1/sources/{SOURCE}"), "/api/v1/config"] {
        let shown = world.client().get(path).await.unwrap().text();
        assert!(!shown.contains(&crm.database.password()) && !shown.contains(WRONG), "{shown}");
    }
    let output = world.server().output();
    assert!(!output.contains(&crm.database.password()) && !output.contains(WRONG), "{output}");
}

#[tokio::test]
async fn a_wrong_password_is_said_and_put_right() {
    let Some(crm) = Crm::start().await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let wrong = merged(crm.settings(&json!({})), &json!({"secret": WRONG}));
    complaint(&crm, &first_run(&world, &wrong).await, &["secret"]);
    let status = world.get(&format!("/api/v1/sources/{SOURCE}")).await["status"].clone();
    assert!(status["last_error"].is_string() && status["last_error_at"].is_string(), "{status:#}");
    assert_kept_secret(&world, &crm).await;

    let right = json!({"secret": crm.database.password()});
    let path = format!("/api/v1/sources/{SOURCE}");
    let changed = world.client().patch(&path, &right).await.unwrap();
    assert_eq!(changed.status, 200, "{}", changed.text());
    run_well(&world).await;
    crm.lead(400).await;
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["lead.created#400"]);
    assert_kept_secret(&world, &crm).await;
}

#[tokio::test]
async fn a_database_that_is_not_there_is_said() {
    let Some(crm) = Crm::start().await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    // The user may still read the table, but it is gone.
    let name = crm.database.texts("SELECT DATABASE()").await.unwrap().concat();
    crm.change(&format!("DROP DATABASE `{name}`;")).await;
    let settings = crm.settings(&json!({}));
    let run = first_run(&world, &settings).await;
    complaint(&crm, &run, &["database", "url"]);
    // A database that the user may not see.
    let url = settings["database"]["url"].as_str().unwrap();
    let elsewhere = json!({"url": format!("{}/nowhere", url.rsplit_once('/').unwrap().0)});
    let other = merged(crm.settings(&elsewhere), &json!({"name": "other"}));
    complaint(&crm, &first_run(&world, &other).await, &["url"]);
    // No server listens there.
    let other = merged(
        crm.settings(&json!({"url": "mysql://waybill@127.0.0.1:1/perfex"})),
        &json!({"name": "nobody"}),
    );
    complaint(&crm, &first_run(&world, &other).await, &["url"]);
}

/// With a crashed table or a failing view, the following tables are still read.
#[tokio::test]
async fn a_table_that_cannot_be_read_stops_no_other() {
    let Some(crm) = Crm::start().await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    source(&world, &crm, &json!({})).await;
    let broken = "RENAME TABLE `tblleads` TO `the_leads`; CREATE VIEW `tblleads` AS \
        SELECT * FROM `the_leads` WHERE (SELECT `id` FROM `tblcountries_of` LIMIT 2) > 0;";
    crm.change(
        "CREATE TABLE `tblcountries_of` (`id` INT); INSERT INTO `tblcountries_of` VALUES (1), (2);",
    )
    .await;
    crm.change(broken).await;
    crm.change("UPDATE `tblinvoices` SET `adminnote` = 'n' WHERE `id` = 128;").await;
    let run = poll::run(&world, SOURCE).await;
    complaint(&crm, &run, &["tblleads: "]);
    assert_eq!(happened(&world).await, ["invoice.updated#128"], "and none is taken for gone");
    crm.change("DROP VIEW `tblleads`; RENAME TABLE `the_leads` TO `tblleads`;").await;
    crm.lead(400).await;
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["invoice.updated#128", "lead.created#400"]);
}

/// Replaces the leads by a view in which one lead has a name that cannot be read.
async fn break_lead(crm: &Crm, id: u32) {
    let columns = crm
        .database
        .texts(
            "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() \
             AND TABLE_NAME = 'tblleads' ORDER BY ORDINAL_POSITION",
        )
        .await
        .unwrap();
    let shown = columns.iter().map(|column| match column.as_str() {
        // For this lead the power is out of the range of a double, which fails the statement.
        "name" => format!("IF(`id` = {id}, POW(10, 308 + `id`), `name`) AS `name`"),
        other => format!("`{other}`"),
    });
    let shown: Vec<String> = shown.collect();
    let view = format!("CREATE VIEW `tblleads` AS SELECT {} FROM `the_leads`;", shown.join(", "));
    crm.change(&format!("RENAME TABLE `tblleads` TO `the_leads`; {view}")).await;
}

/// One row whose content the database cannot return is set aside by its key. It does not count as
/// deleted, and becomes an event when it can be read again.
#[tokio::test]
async fn a_row_that_cannot_be_read_stops_no_other_row_of_its_table() {
    let Some(crm) = Crm::start().await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    crm.lead(400).await;
    source(&world, &crm, &json!({})).await;
    break_lead(&crm, 400).await;
    crm.change(&super::lead(401).replace("tblleads", "the_leads")).await;
    run_well(&world).await;
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["lead.created#401"]);
    let letters = world.get("/api/v1/dead-letters?kind=row").await;
    let named: Vec<(&Value, &Value)> = letters
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| (&letter["row"], &letter["reason"]))
        .collect();
    assert_eq!(named, [(&json!("400"), &json!("row_unreadable"))], "{letters:#}");

    crm.change("DROP VIEW `tblleads`; RENAME TABLE `the_leads` TO `tblleads`;").await;
    crm.change("UPDATE `tblleads` SET `name` = 'Readable' WHERE `id` = 400;").await;
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["lead.created#401", "lead.updated#400"]);
    assert_eq!(world.get("/api/v1/dead-letters").await, json!([]));
}

#[tokio::test]
async fn tables_that_are_not_there_are_named() {
    let Some(crm) = Crm::start().await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let none = merged(crm.settings(&json!({"prefix": "other_"})), &json!({"name": "other"}));
    complaint(&crm, &first_run(&world, &none).await, &["other_", "prefix"]);

    source(&world, &crm, &json!({})).await;
    crm.change("DROP TABLE `tblcontracts`;").await;
    crm.lead(400).await;
    let run = poll::run(&world, SOURCE).await;
    assert!(run.to_string().contains("tblcontracts"), "{run:#}");
    assert_eq!(
        happened(&world).await,
        ["lead.created#400"],
        "the others are read, and none is taken for emptied"
    );
}

#[tokio::test]
async fn a_password_in_the_address_is_refused() {
    let Some(world) = World::start(Sqlite).await else { return };
    let database = json!({"url": format!("mysql://waybill:{WRONG}@127.0.0.1:3306/perfex")});
    for secret in [json!({"secret": "another"}), json!({})] {
        let settings = json!({"name": SOURCE, "kind": "database", "database": database});
        let answer =
            world.client().post("/api/v1/sources", &merged(settings, &secret)).await.unwrap();
        let faults = problem(&answer, 422);
        let named = faults
            .iter()
            .any(|(path, message)| path == "database.url" && message.contains("secret"));
        assert!(named, "{faults:?}");
        assert!(!answer.text().contains(WRONG), "{}", answer.text());
    }
    assert_eq!(world.get("/api/v1/sources").await, json!([]));
    assert!(!world.server().output().contains(WRONG));
}

#[tokio::test]
async fn other_mistakes_are_named_by_their_place() {
    let Some(world) = World::start(Sqlite).await else { return };
    let good = json!({"url": "mysql://waybill@127.0.0.1:3306/perfex"});
    for (mistake, path) in [
        (json!({"url": "postgres://waybill@127.0.0.1/perfex"}), "database.url"),
        (json!({"url": "mysql://127.0.0.1/perfex"}), "database.url"),
        (json!({"url": "mysql://waybill@127.0.0.1"}), "database.url"),
        (json!({"prefix": "tbl`; DROP TABLE x; --"}), "database.prefix"),
        (json!({"tables": ["invoices", "spaceships"]}), "database.tables"),
        (json!({"every": "500ms"}), "database.every"),
        (json!({"every": "1m", "cron": "* * * * *"}), "database"),
        (json!({"time_zone": "Mars/Olympus"}), "database.time_zone"),
        (json!({"start": "2024-01-01"}), "database.start"),
        (json!({"passwort": "x"}), "database"),
    ] {
        let database = merged(good.clone(), &mistake);
        let settings =
            json!({"name": SOURCE, "kind": "database", "secret": WRONG, "database": database});
        let answer = world.client().post("/api/v1/sources", &settings).await.unwrap();
        let faults = problem(&answer, 422);
        let named = faults.iter().any(|(at, _)| at.starts_with(path));
        assert!(named, "{mistake} is not named by {path}: {faults:?}");
        assert!(!answer.text().contains(WRONG), "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_stops_and_comes_back() {
    // A separate server, because other tests must not be disturbed.
    if !MariaDb::is_installed() {
        skip("MariaDB is not on this machine");
        return;
    }
    let mut server = MariaDb::start().unwrap();
    let crm = Crm::fill(MariaDatabase::create(&server.url("")).await.unwrap()).await;
    let Some(world) = World::start(Sqlite).await else { return };
    source(&world, &crm, &json!({"every": "1s"})).await;
    crm.lead(400).await;
    world.eventually("/api/v1/events", |found| found[0]["resource_id"] == "400").await;

    server.stop().unwrap();
    let path = format!("/api/v1/sources/{SOURCE}");
    let away = world.eventually(&path, |found| found["run"]["error"].is_string()).await;
    complaint(&crm, &away["run"], &["url"]);
    assert_kept_secret(&world, &crm).await;
    server.resume().unwrap();
    crm.lead(401).await;
    crm.change("DELETE FROM `tblleads` WHERE `id` = 400;").await;

    let back = world.eventually(&path, |found| found["run"]["error"].is_null()).await;
    run_well(&world).await;
    let wanted = ["lead.created#400", "lead.created#401", "lead.deleted#400"];
    assert_eq!(happened(&world).await, wanted, "{back:#}");
}
