//! Every event of the catalogue, each from the change that brings it about, exactly once and with
//! no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::Value;

use super::fixture::{self, NOW, Step};
use super::scan::{Source, names};
use crate::crm::derive::{DerivedEvent, ScanPurpose};
use crate::crm::rules::{EventRule, WITHOUT_TRACE};
use crate::crm::tables;

fn catalogued() -> Vec<Value> {
    let text = fixture::read("facts/event-derivation.json");
    let all: Value = serde_json::from_str(&text).unwrap();
    all["events"].as_array().unwrap().clone()
}

fn rules() -> impl Iterator<Item = &'static EventRule> {
    tables::ALL.iter().flat_map(|table| table.rules)
}

/// What followed from each step, and the source after all of them.
pub struct Walk {
    pub steps: Vec<(Step, Vec<DerivedEvent>)>,
    source: Source,
}

pub static WALK: LazyLock<Walk> = LazyLock::new(|| {
    let mut source = Source::scanned();
    let mut steps = Vec::new();
    for step in fixture::steps(NOW) {
        source.database.run(&step.sql);
        let events = source.scan(ScanPurpose::Changes);
        steps.push((step, events));
    }
    Walk { steps, source }
});

#[test]
fn each_step_gives_what_it_is_expected_to_and_no_more() {
    let mut wrong = Vec::new();
    for (step, events) in &WALK.steps {
        let found = names(events);
        if found != step.expected {
            let expected = &step.expected;
            wrong.push(format!("{}:\n  expected {expected:?}\n  found    {found:?}", step.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_event_that_leaves_a_trace_is_derived() {
    let events = WALK.steps.iter().flat_map(|(_, events)| events);
    let seen: BTreeSet<&str> = events.map(|event| event.event_type).collect();
    let mut counts: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    let mut missing = Vec::new();
    for event in catalogued() {
        let (name, quality) =
            (event["name"].as_str().unwrap(), event["db_quality"].as_str().unwrap());
        let is_derived = seen.contains(name);
        let count = counts.entry(quality.to_owned()).or_default();
        count[0] += 1;
        count[1] += usize::from(is_derived);
        if !is_derived && quality != "hook-only" {
            missing.push(format!("{name} ({quality})"));
        }
        assert_eq!(!is_derived, WITHOUT_TRACE.contains(&name), "{name}");
    }
    println!("{counts:?} of {} steps", WALK.steps.len());
    assert_eq!(missing, [""; 0]);
    assert_eq!(counts["exact"], [141, 141]);
    assert_eq!(counts["clock"], [4, 4]);
    assert_eq!(counts["approximate"], [4, 4]);
}

#[test]
fn rules_and_catalogue_name_the_same_events_and_aliases() {
    let all = catalogued();
    let find = |name: &str| all.iter().find(|event| event["name"] == name);
    for rule in rules() {
        let event = find(rule.event).unwrap_or_else(|| panic!("{} is not catalogued", rule.event));
        assert_eq!(event["same_occurrence_as"].as_str(), rule.alias_of, "{}", rule.event);
    }
    let ruled: BTreeSet<&str> = rules().map(|rule| rule.event).collect();
    assert_eq!(ruled.len() + WITHOUT_TRACE.len(), all.len());
}

/// A rule names columns by text; one that its table does not have would never hold.
#[test]
fn rules_name_columns_that_are_read() {
    use crate::crm::rules::{ChangeCondition, ValueCondition};
    for table in tables::ALL {
        let is_read =
            |column: &str| table.columns.contains(&column) || table.list(column).is_some();
        for rule in table.rules {
            let of_where = |condition: &ValueCondition| match condition {
                ValueCondition::Is(column, _)
                | ValueCondition::IsNot(column, _)
                | ValueCondition::OneOf(column, _)
                | ValueCondition::IsSet(column)
                | ValueCondition::IsEmpty(column)
                | ValueCondition::Above0(column)
                | ValueCondition::Below0(column) => *column,
            };
            for when in rule.when {
                let columns: Vec<&str> = match when {
                    ChangeCondition::New(conditions) => conditions.iter().map(of_where).collect(),
                    ChangeCondition::Gone | ChangeCondition::Updated => Vec::new(),
                    ChangeCondition::Changed(c)
                    | ChangeCondition::Renewed(c)
                    | ChangeCondition::Set(c)
                    | ChangeCondition::SetLater(c) => {
                        vec![c]
                    }
                    ChangeCondition::Turns(c, ..)
                    | ChangeCondition::Leaves(c, _)
                    | ChangeCondition::Becomes(c, _) => vec![c],
                    ChangeCondition::CompletesMilestone => {
                        vec!["milestone", "status", "rel_type", "rel_id"]
                    }
                    ChangeCondition::Due(due) => {
                        let conditions = due.when.iter().map(of_where);
                        conditions.chain([due.date]).chain(due.told.map(|(c, _)| c)).collect()
                    }
                    ChangeCondition::Unanswered => {
                        vec!["created_at", "invoice_id", "payment_gateway"]
                    }
                };
                for column in columns {
                    assert!(is_read(column), "{}: {}.{column}", rule.event, table.name);
                }
            }
        }
    }
}

#[test]
fn ids_are_of_one_occurrence_each() {
    let mut ids = BTreeSet::new();
    for (step, events) in &WALK.steps {
        for event in events {
            assert_eq!(event.id.len(), 32);
            assert!(ids.insert(&event.id), "{}: {}", step.name, event.event_type);
        }
    }
}

#[test]
fn after_a_crash_the_same_ids_come_again_and_then_nothing() {
    let mut source = Source::scanned();
    for (step, events) in &WALK.steps {
        source.database.run(&step.sql);
        let before = source.state.clone();
        drop(source.scan(ScanPurpose::Changes));
        source.state = before;
        assert_eq!(source.scan(ScanPurpose::Changes), *events, "{}", step.name);
        assert_eq!(source.scan(ScanPurpose::Changes), [], "{}", step.name);
    }
}

#[test]
fn what_goes_to_and_fro_is_another_occurrence_each_time() {
    let mut source = Source::scanned();
    let mut ids = BTreeSet::new();
    for status in ["2", "1", "2", "1", "2"] {
        source
            .database
            .run(&format!("UPDATE `tblinvoices` SET `status` = {status} WHERE `id` = 128;"));
        let events = source.scan(ScanPurpose::Changes);
        ids.extend(events.into_iter().filter(|e| e.event_type == "invoice.paid").map(|e| e.id));
    }
    assert_eq!(ids.len(), 3);
}

#[test]
fn what_must_never_be_read_is_nowhere() {
    for event in WALK.steps.iter().flat_map(|(_, events)| events) {
        let text = format!("{:?}{:?}", event.data, event.previous);
        assert!(!text.contains("must-never-be-read"), "{}: {text}", event.event_type);
    }
    let mut stored = WALK.source.state.rows.values();
    assert!(stored.all(|stored| !stored.cells.contains("must-never-be-read")));
}

#[test]
fn a_backfill_gives_what_new_rows_give() {
    let mut source = Source::new();
    let events = source.scan(ScanPurpose::Backfill);
    let found: BTreeSet<&str> = events.iter().map(|event| event.event_type).collect();
    assert!(found.contains("invoice.created") && found.contains("ticket.reply_added"));
    assert!(!found.contains("invoice.overdue") && !found.contains("task.overdue"));
    assert!(!found.contains("invoice.sent") && !found.contains("estimate.sent"));
    assert_eq!(source.scan(ScanPurpose::Changes), [], "nothing again");
}

#[test]
fn an_upgrade_of_the_crm_updates_no_record() {
    let mut source = Source::new();
    let upgraded = source.database.clone();
    source.database.drop_column("tblinvoices", "formatted_number");
    source.database.drop_column("tblcontracts", "last_sent_at");
    source.scan(ScanPurpose::Baseline);
    source.database = upgraded;
    assert_eq!(source.scan(ScanPurpose::Changes), []);
    source.database.run("UPDATE `tblinvoices` SET `total` = '1.00' WHERE `id` = 128;");
    let events = source.scan(ScanPurpose::Changes);
    assert_eq!(names(&events), ["invoice.updated#128"]);
    assert_eq!(events[0].changed, ["total"]);
}

#[test]
fn changed_and_previous_tell_what_was() {
    let mut source = Source::scanned();
    let mut after = |sql: &str| {
        source.database.run(sql);
        source.scan(ScanPurpose::Changes)
    };
    let events =
        after("UPDATE `tblcontacts` SET `title` = 'CFO', `last_login` = NULL WHERE `id` = 77;");
    let [own, of_customer] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(
        (own.changed.clone(), own.previous["title"].as_str()),
        (vec!["title".into()], Some("Finance Manager"))
    );
    assert_eq!(of_customer.changed, ["contact.title"]);
    assert_eq!(of_customer.previous["contact.title"], "Finance Manager");
    assert_eq!((of_customer.resource, of_customer.resource_id.as_str()), ("customer", "42"));
    assert_eq!(of_customer.data["contact"]["title"], "CFO");
    assert_eq!(of_customer.data["company"], "Harbour Logistics Ltd");

    let events = after("UPDATE `tblcontracts` SET `content` = '' WHERE `id` = 19;");
    assert_eq!(events[0].changed, ["content"]);
    assert!(events[0].previous.is_empty(), "a long text is not kept");
    assert_eq!(events[0].data["content"], "");

    let events = after(
        "INSERT INTO `tblcustomer_groups` (`id`, `groupid`, `customer_id`) VALUES (9, 5, 42);",
    );
    let data = &events[0].data;
    assert_eq!(data["old_groups"], serde_json::json!([{ "id": "2", "name": "Wholesale" }]));
    assert_eq!(data["groups"].as_array().unwrap().len(), 2);

    let events = after("DELETE FROM `tblcontracts` WHERE `id` = 20;");
    assert_eq!((events[0].data["subject"].as_str(), events[0].changed.len()), (Some("Hosting"), 0));
}

#[test]
fn a_kept_row_that_cannot_be_read_makes_no_update() {
    let mut source = Source::scanned();
    for stored in source.state.rows.values_mut() {
        stored.cells = "of another age".into();
        stored.hash = crate::crypto::digest::ShortDigest::default();
    }
    source.database.run("DELETE FROM `tblexpenses` WHERE `id` = 204;");
    let events = source.scan(ScanPurpose::Changes);
    assert_eq!(names(&events), ["expense.deleted#204"]);
    source.database.run("UPDATE `tblinvoices` SET `total` = '1.00' WHERE `id` = 128;");
    assert_eq!(names(&source.scan(ScanPurpose::Changes)), ["invoice.updated#128"]);
}
