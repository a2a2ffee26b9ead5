//! Calls the role `puller` of a module: `pull`.

use super::bindings::exports::waybill::module::puller::Step;
use super::check::CheckResult;
use super::guest_state::GuestState;
use super::json::check_json;
use super::lone_call::{LoneRole, header_pairs, judge_answer, lacks_role, wire_answer};
use super::module::BoundModule;
use super::module_facts::read_facts;
use super::network_calls::read_request;
use super::outgoing::call_values::{ModuleReply, ModuleRequest};
use super::run::in_time;
use super::{ModuleFailure, ModuleRole};
use crate::model::plan_effects::ModuleFact;
use wasmtime::Store;
use wasmtime::component::Instance;

/// Most bytes of what a module remembers.
const MOST_MEMORY: usize = 64 << 10;

/// What a module knows when it is asked.
#[derive(Debug)]
pub struct PullInput<'a> {
    /// What it left at its last call, a JSON text.
    pub memory: Option<&'a str>,
    /// The answer to the request that it asked for. `None` at the start of a round.
    pub answer: Option<&'a ModuleReply>,
}

/// What follows from an answer.
#[derive(Debug)]
pub struct PullStep {
    pub facts: Vec<ModuleFact>,
    /// What the next call gets, a JSON text.
    pub memory: String,
    /// The request to make now. `None` ends the round.
    pub next: Option<ModuleRequest>,
}

impl LoneRole for PullInput<'_> {
    const ROLE: ModuleRole = ModuleRole::Puller;
    type Answer = PullStep;

    async fn call_role(
        &self,
        bound: &BoundModule,
        store: &mut Store<GuestState>,
        instance: &Instance,
    ) -> Result<PullStep, ModuleFailure> {
        let indices = bound.puller.as_ref().ok_or_else(|| lacks_role(Self::ROLE))?;
        let headers = self.answer.map(|reply| header_pairs(&reply.headers)).unwrap_or_default();
        let answer = self.answer.map(|reply| wire_answer(reply, &headers));
        let call = async {
            let guest = indices.load(&mut *store, instance)?;
            guest.call_pull(&mut *store, self.memory, answer).await
        };
        let answer = in_time(&bound.limits, call).await;
        let Step { events, memory, next } = judge_answer(bound, store, answer)?;
        let facts = read_facts(events, &bound.limits)?;
        check_memory(&memory)?;
        Ok(PullStep { facts, memory, next: next.map(read_request) })
    }
}

fn check_memory(memory: &str) -> CheckResult<()> {
    let unusable = |message: String| Err(ModuleFailure::Output { message });
    if memory.len() > MOST_MEMORY {
        let length = memory.len();
        return unusable(format!("a memory of {length} bytes, the limit is {MOST_MEMORY}"));
    }
    match check_json(memory) {
        Ok(()) => Ok(()),
        Err(fault) => unusable(format!("its memory is not JSON: {fault}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_is_short_json() {
        assert!(check_memory(r#"{"after": 7}"#).is_ok());
        for wrong in ["", "{", &format!("\"{}\"", "x".repeat(MOST_MEMORY))] {
            assert_eq!(check_memory(wrong).unwrap_err().reason(), "module_output");
        }
    }
}
