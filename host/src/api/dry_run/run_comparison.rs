//! A backtest: compares the results of other module versions for stored events with those of the
//! present versions. The results are answers of `POST /flows/{id}/run`.

use crate::json::difference::compare_values;
use crate::json::members::read_list;
use serde_json::{Value, json};

/// Number of events whose difference is shown.
const SHOWN: usize = 5;

/// The difference between the two results for an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventChange {
    Same,
    /// Changed, with the first difference.
    Changed(String),
    NewlyDropped(String),
    NewlyFailing(String),
    NoLongerFailing,
}

/// The counts of a backtest.
#[derive(Debug, Default)]
pub struct BacktestCounts {
    pub same: usize,
    pub changed: usize,
    pub newly_dropped: usize,
    pub newly_failing: usize,
    pub no_longer_failing: usize,
    /// Number of events whose payload was pruned.
    pub without_payload: usize,
    /// Run time of the modules in microseconds: the present versions, and the others.
    present_us: u64,
    tried_us: u64,
    /// Id and difference of the first events that differ.
    pub shown: Vec<(String, String)>,
}

impl BacktestCounts {
    /// Counts an event by its dry runs with the present versions and with the others.
    pub fn count_event(&mut self, id: &str, present: &Value, tried: &Value) {
        self.present_us += sum_running_time(present);
        self.tried_us += sum_running_time(tried);
        let (count, difference) = match compare_runs(present, tried) {
            EventChange::Same => (&mut self.same, None),
            EventChange::NoLongerFailing => (&mut self.no_longer_failing, None),
            EventChange::Changed(what) => (&mut self.changed, Some(what)),
            EventChange::NewlyDropped(why) => {
                (&mut self.newly_dropped, Some(format!("newly dropped: {why}")))
            }
            EventChange::NewlyFailing(why) => {
                (&mut self.newly_failing, Some(format!("newly failing: {why}")))
            }
        };
        *count += 1;
        if let Some(difference) = difference.filter(|_| self.shown.len() < SHOWN) {
            self.shown.push((id.to_owned(), difference));
        }
    }

    /// Returns the number of events that ran.
    pub fn total(&self) -> usize {
        self.same + self.changed + self.newly_dropped + self.newly_failing + self.no_longer_failing
    }

    /// Returns the result in lines for people.
    pub fn describe(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{} events: {} same, {} changed, {} newly dropped, {} newly failing, {} no longer failing",
            self.total(),
            self.same,
            self.changed,
            self.newly_dropped,
            self.newly_failing,
            self.no_longer_failing
        )];
        if self.without_payload > 0 {
            lines.push(format!("{} more have no payload any more", self.without_payload));
        }
        let (present, tried) = (self.per_event(self.present_us), self.per_event(self.tried_us));
        lines.push(format!("modules ran {present} µs for each event at present, then {tried} µs"));
        lines.extend(self.shown.iter().map(|(id, difference)| format!("{id}  {difference}")));
        lines
    }

    fn per_event(&self, micros: u64) -> u64 {
        micros.checked_div(self.total() as u64).unwrap_or_default()
    }

    /// Returns the result for programs.
    pub fn as_json(&self) -> Value {
        let shown = self
            .shown
            .iter()
            .map(|(id, difference)| json!({"event_id": id, "difference": difference}));
        json!({
            "events": self.total(), "same": self.same, "changed": self.changed,
            "newly_dropped": self.newly_dropped, "newly_failing": self.newly_failing,
            "no_longer_failing": self.no_longer_failing, "without_payload": self.without_payload,
            "present_us": self.present_us, "tried_us": self.tried_us,
            "differences": shown.collect::<Vec<_>>(),
        })
    }
}

/// Returns how long the modules of a run ran, in microseconds.
pub fn sum_running_time(run: &Value) -> u64 {
    let times = read_list(run, "steps").iter().filter_map(|step| step.get("duration_us")?.as_u64());
    times.sum()
}

/// Compares the results of a run with other versions with those of the present versions.
pub fn compare_runs(present: &Value, tried: &Value) -> EventChange {
    let failure =
        |run: &Value| run.pointer("/failure/detail").and_then(Value::as_str).map(str::to_owned);
    match (failure(present), failure(tried)) {
        (None, Some(why)) => return EventChange::NewlyFailing(why),
        (Some(_), None) => return EventChange::NoLongerFailing,
        (Some(before), Some(after)) if before != after => {
            return EventChange::Changed(format!("~ failure: {before} → {after}"));
        }
        (Some(_), Some(_)) => return EventChange::Same,
        (None, None) => {}
    }
    let (before, after) = (list_sent(present), list_sent(tried));
    if after == json!([]) && before != after {
        let mut reasons =
            read_list(tried, "steps").iter().filter_map(|step| step.get("reason")?.as_str());
        return EventChange::NewlyDropped(reasons.next_back().unwrap_or("no reason").to_owned());
    }
    match compare_values(&before, &after).first() {
        Some(change) => EventChange::Changed(change.to_string()),
        None => EventChange::Same,
    }
}

/// Returns the first differences between what two runs would send, in words.
pub fn tell_differences(present: &Value, tried: &Value, most: usize) -> Vec<String> {
    let (before, after) = (list_sent(present), list_sent(tried));
    let changes = compare_values(&before, &after);
    changes.iter().take(most).map(ToString::to_string).collect()
}

/// Returns the dispatches of a run without the ids of drafts, which follow from a module's digest
/// and so differ between any two versions.
fn list_sent(run: &Value) -> Value {
    let mut dispatches = Value::Array(read_list(run, "dispatches").to_vec());
    for dispatch in dispatches.as_array_mut().into_iter().flatten() {
        let Some(members) = dispatch.as_object_mut() else { continue };
        let id = members.shift_remove("id");
        members.shift_remove("body_bytes");
        if let Some(body) = members.get_mut("body").and_then(Value::as_object_mut)
            && body.get("id") == id.as_ref()
        {
            body.shift_remove("id");
            // Only an event that a module made has a parent.
            for name in ["parent_id", "parentid"] {
                body.shift_remove(name);
            }
        }
    }
    dispatches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: &str, total: u32) -> Value {
        let body = json!({"id": id, "parent_id": "evt_0", "payload": {"total": total}});
        json!({
            "failure": null, "steps": [{"duration_us": 5}, {"duration_us": 6}],
            "dispatches": [{"endpoint": "a", "id": id, "body_bytes": 10, "body": body}],
        })
    }

    fn dropped(reason: &str) -> Value {
        json!({"failure": null, "steps": [{"reason": reason, "duration_us": 1}], "dispatches": []})
    }

    fn failed(detail: &str) -> Value {
        json!({"failure": {"detail": detail}, "steps": [], "dispatches": []})
    }

    #[test]
    fn ids_of_drafts_make_no_difference() {
        assert_eq!(compare_runs(&run("evt_1", 1), &run("evt_2", 1)), EventChange::Same);
        let changed = compare_runs(&run("evt_1", 1), &run("evt_2", 2));
        let expected = EventChange::Changed("~ [0].body.payload.total: 1 → 2".to_owned());
        assert_eq!(changed, expected);
    }

    #[test]
    fn drops_and_failures_are_told_from_changes() {
        let small = || EventChange::NewlyDropped("too small".to_owned());
        assert_eq!(compare_runs(&run("evt_1", 1), &dropped("too small")), small());
        assert_eq!(compare_runs(&dropped("a"), &dropped("b")), EventChange::Same);
        let trapped = EventChange::NewlyFailing("it trapped".to_owned());
        assert_eq!(compare_runs(&run("evt_1", 1), &failed("it trapped")), trapped);
        assert_eq!(compare_runs(&failed("x"), &run("evt_1", 1)), EventChange::NoLongerFailing);
        assert_eq!(compare_runs(&failed("x"), &failed("x")), EventChange::Same);
    }

    #[test]
    fn the_first_five_differences_are_shown() {
        let mut counts = BacktestCounts::default();
        for n in 0..7 {
            counts.count_event(&format!("evt_{n}"), &run("evt_1", 1), &run("evt_2", 2));
        }
        counts.count_event("evt_8", &run("evt_1", 1), &run("evt_2", 1));
        assert_eq!(counts.shown.len(), 5);
        let lines = counts.describe();
        assert!(lines[0].starts_with("8 events: 1 same, 7 changed, 0 newly dropped"), "{lines:?}");
        assert!(lines[1].contains("11 µs for each event at present, then 11 µs"), "{lines:?}");
        assert_eq!(counts.as_json()["differences"][4]["event_id"], "evt_4");
    }
}
