//! Calls the role `source` of a module: `decode`.

use super::bindings::exports::waybill::module::source::{Decoded, Inbound};
use super::guest_state::GuestState;
use super::lone_call::{LoneRole, header_pairs, judge_answer, lacks_role, wire_body};
use super::module::BoundModule;
use super::module_facts::read_facts;
use super::network_calls::read_reply;
use super::outgoing::call_values::{ModuleBody, ModuleReply};
use super::run::in_time;
use super::{ModuleFailure, ModuleRole};
use crate::model::plan_effects::ModuleFact;
use wasmtime::Store;
use wasmtime::component::Instance;

/// A request to a source, without credentials.
#[derive(Debug)]
pub struct InboundRequest {
    pub method: String,
    /// The path below the source's own address.
    pub path: String,
    /// The decoded parameters of the query.
    pub query: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
    pub body: ModuleBody,
}

/// What a module made of a request.
#[derive(Debug)]
pub struct DecodedRequest {
    pub facts: Vec<ModuleFact>,
    /// What to answer. `None` answers as other sources do.
    pub reply: Option<ModuleReply>,
}

impl LoneRole for InboundRequest {
    const ROLE: ModuleRole = ModuleRole::Source;
    type Answer = DecodedRequest;

    async fn call_role(
        &self,
        bound: &BoundModule,
        store: &mut Store<GuestState>,
        instance: &Instance,
    ) -> Result<DecodedRequest, ModuleFailure> {
        let indices = bound.source.as_ref().ok_or_else(|| lacks_role(Self::ROLE))?;
        let (query, headers) = (header_pairs(&self.query), header_pairs(&self.headers));
        let request = Inbound {
            method: &self.method,
            path: &self.path,
            query: &query,
            headers: &headers,
            body: wire_body(&self.body),
        };
        let call = async {
            let guest = indices.load(&mut *store, instance)?;
            guest.call_decode(&mut *store, request).await
        };
        let answer = in_time(&bound.limits, call).await;
        let Decoded { events, reply } = judge_answer(bound, store, answer)?;
        let facts = read_facts(events, &bound.limits)?;
        Ok(DecodedRequest { facts, reply: reply.map(read_reply) })
    }
}
