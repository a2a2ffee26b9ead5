//! `proposal.accepted` becomes a task with a due date; see the README.

use jiff::SignedDuration;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use waybill_guest::field::{Cents, Id};
use waybill_guest::{Draft, Event, Failure, Transform, config, export_module};

/// Days from the acceptance to the due date where the configuration gives none.
const DAYS: u32 = 3;

/// Medium, in the CRM's scale of 1 (low) to 4 (urgent).
const PRIORITY: u8 = 2;

#[derive(Deserialize)]
struct Proposal {
    id: Id,
    subject: Option<String>,
    #[serde(rename = "proposal_to")]
    recipient: Option<String>,
    total: Option<Cents>,
    currency_name: Option<String>,
    assigned: Option<Id>,
    acceptance_date: Option<String>,
}

/// A task in the CRM's own columns.
#[derive(Serialize)]
struct Task {
    name: String,
    description: String,
    priority: u8,
    startdate: Date,
    duedate: Date,
    rel_type: &'static str,
    rel_id: Id,
    assignees: Vec<Id>,
}

struct ProposalToTask;

impl Transform for ProposalToTask {
    fn apply(event: Event) -> Result<Vec<Draft>, Failure> {
        let task = task(event.data()?, &event.time)?;
        Ok(vec![Draft::json(&task)?.kind("task.request")])
    }
}

fn task(proposal: Proposal, event_time: &str) -> Result<Task, Failure> {
    let startdate = accepted_on(&proposal, event_time)?;
    let assignee = config::optional("assignee")?.or_else(|| proposal.assigned.clone());
    Ok(Task {
        name: title(&proposal),
        description: description(&proposal),
        priority: config::optional("priority")?.unwrap_or(PRIORITY),
        startdate,
        duedate: due(startdate)?,
        rel_type: "proposal",
        rel_id: proposal.id,
        assignees: assignee.into_iter().filter(|id| !id.is_none()).collect(),
    })
}

/// The day of the acceptance in the CRM's own time zone, else the event's day.
fn accepted_on(proposal: &Proposal, event_time: &str) -> Result<Date, Failure> {
    let text = proposal.acceptance_date.as_deref().unwrap_or(event_time);
    day(text).ok_or_else(|| {
        let message = format!("`{text}` does not begin with a date such as 2026-05-03");
        Failure::permanent("bad_payload", message).at("/acceptance_date")
    })
}

/// The date that a date and time begins with.
fn day(text: &str) -> Option<Date> {
    let mut parts = text.split([' ', 'T']).next()?.splitn(3, '-');
    let year = parts.next()?.parse().ok()?;
    let month = parts.next()?.parse().ok()?;
    let day = parts.next()?.parse().ok()?;
    Date::new(year, month, day).ok()
}

fn due(start: Date) -> Result<Date, Failure> {
    let days = config::optional::<u32>("days")?.unwrap_or(DAYS);
    start.checked_add(SignedDuration::from_hours(24 * i64::from(days))).map_err(|error| {
        let message = format!("the configuration's `days` is too large: {error}");
        Failure::permanent("config_invalid", message)
    })
}

fn title(proposal: &Proposal) -> String {
    match given(proposal.subject.as_ref()) {
        Some(subject) => format!("Start: {subject}"),
        None => format!("Start proposal {}", proposal.id),
    }
}

fn description(proposal: &Proposal) -> String {
    let customer = given(proposal.recipient.as_ref()).unwrap_or("The customer");
    match proposal.total {
        Some(total) => {
            let currency = proposal.currency_name.as_deref().unwrap_or_default();
            format!("{customer} accepted proposal {} over {total} {currency}", proposal.id)
                .trim_end()
                .to_owned()
        }
        None => format!("{customer} accepted proposal {}", proposal.id),
    }
}

fn given(text: Option<&String>) -> Option<&str> {
    text.map(|text| text.trim()).filter(|text| !text.is_empty())
}

export_module!(ProposalToTask: transform);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use waybill_guest::testing::{self, Host};

    use super::*;

    fn proposal() -> Value {
        json!({
            "id": "35", "subject": "Warehouse scanner rollout", "proposal_to": "Eleni Markou",
            "total": "2400.00", "currency_name": "EUR", "assigned": "3", "status": "3",
            "acceptance_date": "2026-04-29 09:14:26",
        })
    }

    fn with(changes: &Value) -> Value {
        let mut proposal = proposal();
        for (key, value) in changes.as_object().unwrap() {
            proposal[key] = value.clone();
        }
        proposal
    }

    fn apply(data: Value) -> Result<Vec<Draft>, Failure> {
        ProposalToTask::apply(testing::event("proposal.accepted", data))
    }

    fn task_for(data: Value) -> Value {
        let drafts = apply(data).unwrap();
        assert_eq!(drafts.len(), 1);
        assert_eq!(drafts[0].kind.as_deref(), Some("task.request"));
        testing::payload(&drafts[0])
    }

    #[test]
    fn proposal_becomes_a_task() {
        let expected = json!({
            "name": "Start: Warehouse scanner rollout",
            "description": "Eleni Markou accepted proposal 35 over 2400.00 EUR",
            "priority": 2, "startdate": "2026-04-29", "duedate": "2026-05-02",
            "rel_type": "proposal", "rel_id": "35", "assignees": ["3"],
        });
        assert_eq!(task_for(proposal()), expected);
    }

    #[test]
    fn configuration_gives_days_assignee_and_priority() {
        let _host = Host::with_config(json!({"days": "306", "assignee": 8, "priority": 4}));
        let task = task_for(proposal());
        assert_eq!(task["duedate"], "2027-03-01");
        assert_eq!(task["assignees"], json!(["8"]));
        assert_eq!(task["priority"], 4);
    }

    #[test]
    fn event_without_acceptance_date_counts_from_its_own_day() {
        let task = task_for(with(&json!({"acceptance_date": null})));
        assert_eq!(task["startdate"], "2026-05-03");
        assert_eq!(task["duedate"], "2026-05-06");
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let task = task_for(json!({"id": 35, "assigned": 0}));
        assert_eq!(task["name"], "Start proposal 35");
        assert_eq!(task["description"], "The customer accepted proposal 35");
        assert_eq!(task["assignees"], json!([]));
    }

    #[test]
    fn impossible_date_is_refused_with_its_place() {
        for date in ["soon", "2026-02-30 10:00:00", ""] {
            let failure = apply(with(&json!({"acceptance_date": date}))).unwrap_err();
            assert_eq!(failure.reason().code, "bad_payload");
            assert_eq!(failure.reason().pointer.as_deref(), Some("/acceptance_date"));
        }
    }

    #[test]
    fn impossible_number_of_days_is_the_configurations_fault() {
        for days in [json!(-1), json!(i64::MAX), json!(4_000_000), json!("soon")] {
            let _host = Host::with_config(json!({"days": days}));
            let failure = apply(proposal()).unwrap_err();
            assert_eq!(failure.reason().code, "config_invalid");
        }
    }
}
