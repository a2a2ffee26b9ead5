//! Checks the events that modules make, by `emit` or as a source.

use super::bindings::waybill::module::types::{BodyResult, ChangesResult, Fact, Failure};
use super::capabilities::permanent;
use super::check::{self, CheckResult};
use super::guest_log::clip;
use super::{ModuleFailure, ModuleLimits};
use crate::json::storable::make_storable;
use crate::model::attributes::is_reserved_for_host;
use crate::model::event::MAX_KEY;
use crate::model::plan_effects::ModuleFact;
use crate::model::type_pattern::{OWN_TYPES, is_event_type};
use crate::time::timestamp::Timestamp;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Most events that one call of a source may return.
const MOST_FACTS: usize = 1_000;
/// Most attributes of an event.
const MAX_ATTRIBUTES: usize = 32;

/// Reads the events that a call of a source returned. One that cannot be an event makes the whole
/// output unusable, so that nothing is half stored.
pub fn read_facts(facts: Vec<Fact>, limits: &ModuleLimits) -> CheckResult<Vec<ModuleFact>> {
    let unusable = |message: String| ModuleFailure::Output { message: check::text(message) };
    if facts.len() > MOST_FACTS {
        return Err(unusable(format!("{} events, the limit is {MOST_FACTS}", facts.len())));
    }
    let (mut read, mut bytes) = (Vec::with_capacity(facts.len()), 0);
    for (n, fact) in facts.into_iter().enumerate() {
        let checked = check_type(&fact).and_then(|()| check_names(&fact));
        let kept = checked.and_then(|()| keep_fact(fact));
        let kept = kept.map_err(|failure| unusable(format!("event {n}: {}", words(failure))))?;
        bytes += kept.size();
        if bytes > limits.output_bytes {
            let limit = limits.output_bytes;
            return Err(unusable(format!("more than {limit} bytes in one call")));
        }
        read.push(kept);
    }
    Ok(read)
}

fn words(failure: Failure) -> String {
    match failure {
        Failure::Permanent(reason) => reason.message,
        Failure::Retryable(retry) => retry.reason.message,
    }
}

/// Fails if the type of an event is not one, or is kept for Waybill.
pub fn check_type(fact: &Fact) -> Result<(), Failure> {
    let kind = clip(&fact.kind, MAX_KEY);
    if !is_event_type(&fact.kind) {
        let message = format!("`{kind}` is not an event type, a dotted name such as `lead.scored`");
        return Err(permanent("invalid", message));
    }
    if fact.kind.starts_with(OWN_TYPES) {
        let message = format!(
            "`{kind}`: types that begin with `{OWN_TYPES}` are kept for Waybill's own events"
        );
        return Err(permanent("invalid", message));
    }
    Ok(())
}

/// Fails if a name of an event is too long, or if it has too many or reserved attributes.
pub fn check_names(fact: &Fact) -> Result<(), Failure> {
    for (what, text) in
        [("resource", &fact.resource), ("subject", &fact.subject), ("key", &fact.key)]
    {
        if text.as_ref().is_some_and(|text| text.len() > MAX_KEY) {
            let message = format!("the {what} of an event has {MAX_KEY} bytes at most");
            return Err(permanent("invalid", message));
        }
    }
    if fact.attributes.len() > MAX_ATTRIBUTES {
        let message = format!("an event has {MAX_ATTRIBUTES} attributes at most");
        return Err(permanent("limit", message));
    }
    match fact.attributes.iter().find(|(name, _)| is_reserved_for_host(name)) {
        Some((name, _)) => Err(permanent("invalid", check::reserved_attribute(name))),
        None => Ok(()),
    }
}

/// Reads the parts of an event that can be stored.
pub fn keep_fact(fact: Fact) -> Result<ModuleFact, Failure> {
    let invalid = |message: String| permanent("invalid", make_storable(message));
    let Fact { kind, resource, subject, time, key, changes, attributes, data } = fact;
    let time = time.map(|time| Timestamp::parse(&time)).transpose();
    let data = match data {
        BodyResult::Json(text) => super::json::check_json(&text)
            .map(|()| text)
            .map_err(|fault| invalid(format!("the data of the event is not JSON: {fault}")))?,
        BodyResult::Text(text) => {
            serde_json::to_string(&text).map_err(|error| invalid(error.to_string()))?
        }
        BodyResult::Bytes(_) => {
            return Err(invalid("an event of bytes; give `json` or `text`".to_owned()));
        }
    };
    let resource = resource.or_else(|| kind.rsplit_once('.').map(|(of, _)| of.to_owned()));
    Ok(ModuleFact {
        resource: resource.map(make_storable),
        subject: subject.map(make_storable),
        time: time.map_err(|error| invalid(format!("the time of the event: {error}")))?,
        key: key.map(make_storable),
        changes: changes.map(kept_changes).transpose()?,
        attributes: attributes
            .into_iter()
            .map(|(name, value)| (make_storable(name), make_storable(value)))
            .collect(),
        data,
        kind,
    })
}

/// Converts the changes to the JSON text that events store.
fn kept_changes(changes: ChangesResult) -> Result<String, Failure> {
    let ChangesResult { changed, previous } = changes;
    let invalid = || {
        permanent(
            "invalid",
            "`previous` in the changes of the event is not a JSON object".to_owned(),
        )
    };
    super::json::check_json(&previous).map_err(|_opaque| invalid())?;
    let previous: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(&previous).map_err(|_opaque| invalid())?;
    serde_json::to_string(&serde_json::json!({"changed": changed, "previous": previous}))
        .map_err(|_opaque| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(kind: &str) -> Fact {
        let data = BodyResult::Json("{}".to_owned());
        let (kind, attributes) = (kind.to_owned(), Vec::new());
        let (resource, subject, time, key, changes) = (None, None, None, None, None);
        Fact { kind, resource, subject, time, key, changes, attributes, data }
    }

    fn refusal(facts: Vec<Fact>) -> String {
        let failure = read_facts(facts, &ModuleLimits::default()).unwrap_err();
        assert_eq!(failure.reason(), "module_output");
        failure.to_string()
    }

    #[test]
    fn one_event_that_is_none_spoils_all() {
        let read = read_facts(vec![fact("order.paid")], &ModuleLimits::default()).unwrap();
        assert_eq!(
            (read[0].kind.as_str(), read[0].resource.as_deref()),
            ("order.paid", Some("order"))
        );
        for (bad, said) in [
            (fact("order"), "event 1: `order` is not an event type"),
            (fact("waybill.alert.firing"), "kept for Waybill's own events"),
            (Fact { time: Some("noon".to_owned()), ..fact("a.b") }, "the time of the event"),
            (Fact { data: BodyResult::Bytes(vec![1]), ..fact("a.b") }, "an event of bytes"),
            (Fact { key: Some("k".repeat(256)), ..fact("a.b") }, "the key of an event has 255"),
            (
                Fact { attributes: vec![("waybill-x".into(), "1".into())], ..fact("a.b") },
                "is reserved",
            ),
        ] {
            let message = refusal(vec![fact("order.paid"), bad]);
            assert!(message.contains(said), "{message}");
        }
    }

    #[test]
    fn number_and_bytes_are_bounded() {
        let many = || (0..=MOST_FACTS).map(|_| fact("a.b")).collect();
        assert!(refusal(many()).contains("1001 events, the limit is 1000"));
        let large = BodyResult::Text("x".repeat(ModuleLimits::default().output_bytes / 2));
        let large = || Fact { data: large.clone(), ..fact("a.b") };
        assert!(refusal(vec![large(), large(), large()]).contains("bytes in one call"));
    }
}
