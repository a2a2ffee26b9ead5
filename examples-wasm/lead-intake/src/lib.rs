//! Takes in leads: duplicates by look-up, a score, and an owner by weighted turns; see the README.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use waybill_guest::{
    Draft, Event, Failure, Transform, config, counters, export_module, records, state,
};

/// The key under which the turns of the owners are kept.
const TURNS: &str = "turns";

#[derive(Deserialize)]
struct Intake {
    owners: Vec<Owner>,
    #[serde(default)]
    points: BTreeMap<String, i64>,
}

#[derive(Deserialize)]
struct Owner {
    name: String,
    #[serde(default = "one")]
    weight: i64,
}

const fn one() -> i64 {
    1
}

struct LeadIntake;

impl Transform for LeadIntake {
    fn apply(event: Event) -> Result<Vec<Draft>, Failure> {
        let mut lead: Map<String, Value> = event.data()?;
        if let Some(twin) = find_twin(&event, &lead)? {
            counters::add("duplicates", 1);
            lead.insert("duplicate_of".to_owned(), twin.into());
            return Ok(vec![Draft::json(&lead)?.kind("lead.duplicate")]);
        }
        let intake: Intake = config::all()?;
        lead.insert("score".to_owned(), score(&lead, &intake.points).into());
        lead.insert("owner".to_owned(), next_owner(&intake.owners)?.into());
        Ok(vec![Draft::json(&lead)?.kind("lead.assigned")])
    }
}

/// The id of another lead with the same e-mail address.
fn find_twin(event: &Event, lead: &Map<String, Value>) -> Result<Option<String>, Failure> {
    let email = lead.get("email").and_then(Value::as_str).unwrap_or_default();
    if email.is_empty() {
        return Ok(None);
    }
    let found = records::find(&event.source, "lead", "email", email, 2)?;
    let own = event.subject.as_deref();
    Ok(found.into_iter().map(|found| found.id).find(|id| Some(id.as_str()) != own))
}

/// The points of all columns that are filled in.
fn score(lead: &Map<String, Value>, points: &BTreeMap<String, i64>) -> i64 {
    let is_filled = |column: &String| match lead.get(column) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => true,
    };
    points.iter().filter(|(column, _)| is_filled(column)).map(|(_, points)| points).sum()
}

/// The owner whose turn it is. Each round every owner gains its weight, and the one with the most pays the
/// weights of all: over time each gets its share, and no owner gets all of its leads in a row.
fn next_owner(owners: &[Owner]) -> Result<String, Failure> {
    let held = state::get(TURNS)?.unwrap_or_else(|| "{}".to_owned());
    let mut turns: BTreeMap<String, i64> = serde_json::from_str(&held).unwrap_or_default();
    turns.retain(|name, _| owners.iter().any(|owner| owner.name == *name));
    for owner in owners {
        *turns.entry(owner.name.clone()).or_default() += owner.weight;
    }
    let all: i64 = owners.iter().map(|owner| owner.weight).sum();
    // Of several with as much the first in the configuration.
    let turn = |owner: &&Owner| turns.get(&owner.name).copied().unwrap_or_default();
    let next = owners.iter().rev().max_by_key(turn).map(|owner| owner.name.clone());
    let next = next
        .ok_or_else(|| Failure::permanent("config_missing", "the configuration lacks `owners`"))?;
    *turns.entry(next.clone()).or_default() -= all;
    let kept = serde_json::to_string(&turns);
    let kept = kept.map_err(|error| Failure::permanent("bad_output", error.to_string()))?;
    state::set(TURNS, &kept)?;
    Ok(next)
}

export_module!(LeadIntake: transform);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use waybill_guest::testing::{self, Host};

    use super::*;

    fn intake() -> Host {
        Host::with_config(json!({
            "owners": [{"name": "anna", "weight": 2}, {"name": "ben"}],
            "points": {"phonenumber": 10, "company": 5},
        }))
    }

    fn lead(id: &str, email: &str) -> Event {
        let data = json!({"id": id, "email": email, "phonenumber": "1", "company": ""});
        Event { subject: Some(id.to_owned()), ..testing::event("lead.created", data) }
    }

    #[test]
    fn owners_take_turns_by_weight() {
        let _host = intake();
        let owner = |n: u32| {
            let drafts = LeadIntake::apply(lead(&n.to_string(), "")).unwrap();
            testing::payload(&drafts[0])["owner"].as_str().unwrap().to_owned()
        };
        let owners: Vec<String> = (0..6).map(owner).collect();
        assert_eq!(owners, ["anna", "ben", "anna", "anna", "ben", "anna"]);
    }

    #[test]
    fn filled_columns_give_points() {
        let _host = intake();
        let drafts = LeadIntake::apply(lead("1", "a@example.com")).unwrap();
        assert_eq!(testing::payload(&drafts[0])["score"], 10);
        assert_eq!(drafts[0].kind.as_deref(), Some("lead.assigned"));
    }

    #[test]
    fn another_lead_with_the_address_is_its_twin() {
        let host = intake();
        host.change(|held| {
            for id in ["1", "2"] {
                let found = records::Found {
                    id: id.to_owned(),
                    updated_at: "2026-01-01T00:00:00.000Z".to_owned(),
                    data: r#"{"email":"a@example.com"}"#.to_owned(),
                };
                held.records.push(("test".to_owned(), "lead".to_owned(), found));
            }
        });
        let drafts = LeadIntake::apply(lead("2", "a@example.com")).unwrap();
        assert_eq!(drafts[0].kind.as_deref(), Some("lead.duplicate"));
        assert_eq!(testing::payload(&drafts[0])["duplicate_of"], "1");
        assert_eq!(host.capabilities().counters["duplicates"], 1);
    }
}
