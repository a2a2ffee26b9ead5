//! Drops leads below a score and sends the others where their score says; see the README.

use std::collections::BTreeMap;

use serde::Deserialize;
use waybill_guest::field::Cents;
use waybill_guest::{Dispatch, Event, Failure, Filter, Route, Verdict, config, export_module, log};

/// The column that is the score where the configuration names none.
const SCORE: &str = "lead_value";

/// A value that is a score, or anything else.
#[derive(Deserialize)]
#[serde(untagged)]
enum Column {
    Score(Cents),
    Other(serde::de::IgnoredAny),
}

struct HotLeads;

impl Filter for HotLeads {
    fn check(event: Event) -> Result<Verdict, Failure> {
        let threshold: Cents = config::require("threshold")?;
        let column = score_column()?;
        Ok(match score(&event, &column)? {
            None => Verdict::drop(format!("the lead has no `{column}`")),
            Some(score) if score < threshold => {
                Verdict::drop(format!("`{column}` is {score}, below the threshold of {threshold}"))
            }
            Some(_) => Verdict::Keep,
        })
    }
}

impl Route for HotLeads {
    fn plan(event: Event) -> Result<Vec<Dispatch>, Failure> {
        let score = score(&event, &score_column()?)?.unwrap_or_default();
        let destination: String = match config::optional::<Cents>("hot_threshold")? {
            Some(hot) if score >= hot => config::require("hot_destination")?,
            Some(_) | None => config::require("destination")?,
        };
        log::info!(score = score; "to {destination}");
        Ok(vec![Dispatch::to(destination)])
    }
}

fn score_column() -> Result<String, Failure> {
    Ok(config::optional("score")?.unwrap_or_else(|| SCORE.to_owned()))
}

/// The lead's score; none where the column is missing or null.
fn score(event: &Event, column: &str) -> Result<Option<Cents>, Failure> {
    let mut lead: BTreeMap<String, Option<Column>> = event.data()?;
    match lead.remove(column).flatten() {
        None => Ok(None),
        Some(Column::Score(score)) => Ok(Some(score)),
        Some(Column::Other(_)) => {
            let message = format!("`{column}` is not a number with at most two decimals");
            Err(Failure::permanent("bad_payload", message).at(format!("/{column}")))
        }
    }
}

export_module!(HotLeads: filter, route);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use waybill_guest::testing::{self, Host};

    use super::*;

    fn lead(value: &Value) -> Event {
        let data = json!({"id": "311", "tags": ["a", {"b": 1}], "lead_value": value});
        testing::event("lead.created", data)
    }

    fn two_steps() -> Value {
        json!({
            "threshold": 1000, "destination": "sales",
            "hot_threshold": "5000.00", "hot_destination": "sales-director",
        })
    }

    fn destination(event: Event) -> String {
        let dispatches = HotLeads::plan(event).unwrap();
        assert_eq!(dispatches.len(), 1);
        assert_eq!(dispatches[0], Dispatch::to(&dispatches[0].destination));
        dispatches[0].destination.clone()
    }

    #[test]
    fn lead_at_the_threshold_is_kept() {
        let _host = Host::with_config(two_steps());
        for value in [json!("1000.00"), json!(1000), json!("7500.00")] {
            assert_eq!(HotLeads::check(lead(&value)), Ok(Verdict::Keep));
        }
    }

    #[test]
    fn lead_below_the_threshold_is_dropped_with_the_reason() {
        let _host = Host::with_config(two_steps());
        let reason = "`lead_value` is 999.99, below the threshold of 1000.00";
        assert_eq!(HotLeads::check(lead(&json!("999.99"))), Ok(Verdict::drop(reason)));
    }

    #[test]
    fn lead_without_a_score_is_dropped_with_the_reason() {
        let _host = Host::with_config(two_steps());
        let reason = "the lead has no `lead_value`";
        assert_eq!(HotLeads::check(lead(&json!(null))), Ok(Verdict::drop(reason)));
        let empty = testing::event("lead.created", json!({}));
        assert_eq!(HotLeads::check(empty), Ok(Verdict::drop(reason)));
    }

    #[test]
    fn score_decides_the_destination() {
        let host = Host::with_config(two_steps());
        assert_eq!(destination(lead(&json!("4999.99"))), "sales");
        assert_eq!(destination(lead(&json!(5000))), "sales-director");
        assert_eq!(host.log()[1].message, "to sales-director");
    }

    #[test]
    fn one_destination_is_enough() {
        let _host = Host::with_config(json!({"threshold": 1000, "destination": "sales"}));
        assert_eq!(destination(lead(&json!("90000.00"))), "sales");
    }

    #[test]
    fn another_column_can_be_the_score() {
        let _host = Host::with_config(json!({"threshold": 60, "score": "points"}));
        let hot = testing::event("lead.created", json!({"points": 61, "lead_value": "1.00"}));
        assert_eq!(HotLeads::check(hot), Ok(Verdict::Keep));
    }

    #[test]
    fn score_that_is_no_number_is_refused_with_its_place() {
        let _host = Host::with_config(two_steps());
        for value in [json!("high"), json!([1]), json!({"a": 1}), json!(true)] {
            let failure = HotLeads::check(lead(&value)).unwrap_err();
            assert_eq!(failure.reason().pointer.as_deref(), Some("/lead_value"));
        }
    }

    #[test]
    fn missing_configuration_is_named() {
        let failure = HotLeads::check(lead(&json!(1))).unwrap_err();
        assert!(failure.reason().message.contains("`threshold`"), "{failure:?}");
        let failure = HotLeads::plan(lead(&json!(1))).unwrap_err();
        assert!(failure.reason().message.contains("`destination`"), "{failure:?}");
    }
}
