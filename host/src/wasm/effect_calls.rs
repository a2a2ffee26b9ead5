//! The capabilities `emit`, `deliveries` and `counters`, by which a guest changes more than the
//! plan of its flow. Each call is collected and committed with the plan.

use super::bindings::waybill::module::types::{BodyResult, ChangesResult, Fact, Failure};
use super::bindings::waybill::module::{counters, deliveries, emit};
use super::capabilities::{CapabilityRun, permanent};
use super::check::{self, IdOrigin};
use super::guest_log::{LogLevel, clip};
use super::guest_state::GuestState;
use crate::json::storable::{is_storable, make_storable};
use crate::model::attributes::{MAX_HOPS, is_reserved_for_host};
use crate::model::capability_grants::ModuleCapability;
use crate::model::event::MAX_KEY;
use crate::model::plan_effects::EmittedFact;
use crate::model::type_pattern::{OWN_TYPES, is_event_type};
use crate::time::timestamp::Timestamp;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Most events that the modules of a flow may emit for one event.
const MAX_FACTS: usize = 20;
/// Most bytes of all events that they emit for one event.
const MAX_FACT_BYTES: usize = 1 << 20;
/// Most attributes of an emitted event.
const MAX_ATTRIBUTES: usize = 32;
/// Most calls of `deliveries.cancel` for one event.
const MAX_CANCELLED: usize = 50;

impl emit::Host for GuestState {
    fn event(&mut self, fact: Fact) -> Result<String, Failure> {
        let (module, parent) = (self.guest.randomness.module, self.guest.randomness.event.clone());
        let run = self.granted(ModuleCapability::Emit)?;
        let captured = u64::try_from(run.ids_from.as_millis()).unwrap_or_default();
        run.check_fact(&fact)?;
        let flow = run.flow.map(|flow| flow.to_string()).unwrap_or_default();
        let origin = IdOrigin { parent: &parent, flow: &flow, module: &module };
        let id = origin.fact_id(captured, run.effects.facts.len());
        let fact = kept_fact(id, fact)?;
        run.check_bytes(&fact)?;
        run.effects.facts.push(fact);
        Ok(id.to_string())
    }
}

impl deliveries::Host for GuestState {
    fn cancel(&mut self, key: String) -> Result<(), Failure> {
        let run = self.granted(ModuleCapability::Deliveries)?;
        if key.is_empty() || key.len() > MAX_KEY || !is_storable(&key) {
            let message = format!("a cancel-key has 1 to {MAX_KEY} bytes, none of them zero");
            return Err(permanent("invalid", message));
        }
        if run.effects.cancelled.len() >= MAX_CANCELLED {
            let message = format!("more than {MAX_CANCELLED} calls of `deliveries.cancel`");
            return Err(permanent("limit", message));
        }
        run.effects.cancelled.push(key);
        Ok(())
    }
}

impl counters::Host for GuestState {
    fn add(&mut self, name: String, by: u32) {
        let why = match self.granted(ModuleCapability::Counters) {
            Ok(run) if run.grants.counters.contains(&name) => {
                let count = run.effects.counts.entry((run.module.clone(), name)).or_default();
                *count = count.saturating_add(by.into());
                return;
            }
            Err(Failure::Permanent(why)) => why.message,
            Ok(_) | Err(Failure::Retryable(_)) => ModuleCapability::Counters.denial(),
        };
        let name = clip(&name, MAX_KEY);
        self.log.push(LogLevel::Warn, &format!("counter `{name}` is left out: {why}"), Vec::new());
    }
}

impl CapabilityRun {
    fn check_fact(&self, fact: &Fact) -> Result<(), Failure> {
        let kind = clip(&fact.kind, MAX_KEY);
        if !is_event_type(&fact.kind) {
            let message =
                format!("`{kind}` is not an event type, a dotted name such as `lead.scored`");
            return Err(permanent("invalid", message));
        }
        if fact.kind.starts_with(OWN_TYPES) {
            let message = format!(
                "`{kind}`: types that begin with `{OWN_TYPES}` are kept for Waybill's own events"
            );
            return Err(permanent("invalid", message));
        }
        if !self.grants.emit.iter().any(|pattern| pattern.matches(&fact.kind)) {
            let message = format!(
                "events of the type `{kind}` are not granted to this module: its manifest must name the type under \
                 `emit`, and an operator must approve that version"
            );
            return Err(permanent("denied", message));
        }
        if self.hops >= MAX_HOPS {
            let message = format!(
                "the event is {} hops from the first one, the limit is {MAX_HOPS}: flows emit events to each other \
                 in a circle",
                self.hops
            );
            return Err(permanent("limit", message));
        }
        if self.effects.facts.len() >= MAX_FACTS {
            return Err(permanent(
                "limit",
                format!("more than {MAX_FACTS} emitted events for one event"),
            ));
        }
        check_names(fact)
    }

    fn check_bytes(&self, fact: &EmittedFact) -> Result<(), Failure> {
        let bytes: usize = self.effects.facts.iter().chain([fact]).map(EmittedFact::size).sum();
        if bytes <= MAX_FACT_BYTES {
            return Ok(());
        }
        let message = format!("more than {MAX_FACT_BYTES} bytes of emitted events for one event");
        Err(permanent("limit", message))
    }
}

fn check_names(fact: &Fact) -> Result<(), Failure> {
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

fn kept_fact(id: crate::model::id::EventId, fact: Fact) -> Result<EmittedFact, Failure> {
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
    Ok(EmittedFact {
        id,
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
    use crate::model::capability_grants::CapabilityGrants;
    use crate::model::type_pattern::TypePattern;

    #[test]
    fn a_module_cannot_emit_a_notice() {
        let emit = ["waybill.*", "lead.*"].map(|pattern| TypePattern::parse(pattern).unwrap());
        let grants = CapabilityGrants { emit: emit.into(), ..CapabilityGrants::default() };
        let run = CapabilityRun::of_grants(grants);
        let check = |kind: &str| {
            let data = BodyResult::Json("{}".to_owned());
            let (kind, attributes) = (kind.to_owned(), Vec::new());
            let (resource, subject, time, key, changes) = (None, None, None, None, None);
            run.check_fact(&Fact { kind, resource, subject, time, key, changes, attributes, data })
        };
        assert!(check("lead.scored").is_ok());
        let Err(Failure::Permanent(reason)) = check("waybill.alert.firing") else {
            panic!("it is taken")
        };
        assert_eq!(reason.code, "invalid");
    }
}
