//! The capabilities `emit`, `deliveries` and `counters`, by which a guest changes more than the
//! plan of its flow. Each call is collected and committed with the plan.

use super::bindings::waybill::module::types::{Fact, Failure};
use super::bindings::waybill::module::{counters, deliveries, emit};
use super::capabilities::{CapabilityRun, permanent};
use super::check::IdOrigin;
use super::guest_log::{LogLevel, clip};
use super::guest_state::GuestState;
use super::module_facts::{check_names, check_type, keep_fact};
use crate::json::storable::is_storable;
use crate::model::attributes::MAX_HOPS;
use crate::model::capability_grants::ModuleCapability;
use crate::model::event::MAX_KEY;
use crate::model::plan_effects::EmittedFact;

/// Most events that the modules of a flow may emit for one event.
const MAX_FACTS: usize = 20;
/// Most bytes of all events that they emit for one event.
const MAX_FACT_BYTES: usize = 1 << 20;
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
        let fact = EmittedFact { id, fact: keep_fact(fact)? };
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
        check_type(fact)?;
        let kind = clip(&fact.kind, MAX_KEY);
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
        let bytes: usize = self.effects.facts.iter().chain([fact]).map(|one| one.fact.size()).sum();
        if bytes <= MAX_FACT_BYTES {
            return Ok(());
        }
        let message = format!("more than {MAX_FACT_BYTES} bytes of emitted events for one event");
        Err(permanent("limit", message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::capability_grants::CapabilityGrants;
    use crate::model::type_pattern::TypePattern;
    use crate::wasm::bindings::waybill::module::types::BodyResult;

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
