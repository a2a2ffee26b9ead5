//! The table of tools: the name, arguments and result of each, and the routes of the REST API that
//! it needs. A token that may not call these routes neither sees the tool nor may call it.

use self::NeededRoute::{Get, Patch, Post, Put};
use super::tool_input::{
    AttemptInput, BacktestInput, ConfigPlan, EndpointInput, EventInput, EventSearch, FailureSearch,
    LetterPreview, LettersReplay, NoInput, SignatureInput,
};
use crate::api::auth::CallPrincipal;
use crate::api::problem::ApiProblem;
use crate::channels::settings_check::settings_schema;
use http::Method;
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum McpTool {
    Overview,
    ExplainEvent,
    FindEvents,
    Failures,
    ShowAttempt,
    PreviewLetters,
    ReplayLetters,
    PauseEndpoint,
    ResumeEndpoint,
    Sources,
    Backtest,
    VerifySignature,
    PlanConfig,
}

/// The changes that a tool may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolEffect {
    /// None.
    Reads,
    /// Changes a setting. A second call changes nothing more.
    Sets,
    /// Sends to other systems.
    Sends,
}

/// A route of the REST API that a tool calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeededRoute {
    Get(&'static str),
    Post(&'static str),
    Patch(&'static str),
    Put(&'static str),
}

impl NeededRoute {
    /// Returns the method and the route.
    const fn parts(self) -> (Method, &'static str) {
        match self {
            Self::Get(route) => (Method::GET, route),
            Self::Post(route) => (Method::POST, route),
            Self::Patch(route) => (Method::PATCH, route),
            Self::Put(route) => (Method::PUT, route),
        }
    }
}

/// The description of a tool.
#[derive(Debug)]
pub struct ToolSpec {
    pub tool: McpTool,
    pub name: &'static str,
    title: &'static str,
    description: &'static str,
    /// All routes that the tool needs. A tool without any leaves out what its caller may not see.
    needs: &'static [NeededRoute],
    effect: ToolEffect,
    schema: fn() -> Value,
}

/// All tools in the order of `tools/list`.
static TOOLS: [ToolSpec; 13] = [
    ToolSpec {
        tool: McpTool::Overview,
        name: "overview",
        title: "What needs attention",
        description: "Says whether deliveries work: firing alerts with their next step, endpoints, \
            flows and sources that fail or are paused, counts of open dead letters and waiting \
            deliveries. Needs no arguments. Call it first.",
        needs: &[],
        effect: ToolEffect::Reads,
        schema: settings_schema::<NoInput>,
    },
    ToolSpec {
        tool: McpTool::ExplainEvent,
        name: "explain_event",
        title: "Why was this not sent?",
        description: "Says in words what became of one event, from its trace: each delivery with \
            its status and last failure, each module that dropped it or failed, flows that have \
            yet to run. Returns the event's payload as untrusted data.",
        needs: &[Get("/api/v1/events/{id}")],
        effect: ToolEffect::Reads,
        schema: settings_schema::<EventInput>,
    },
    ToolSpec {
        tool: McpTool::FindEvents,
        name: "find_events",
        title: "Find events",
        description: "Lists captured events, newest first, by type, source, resource and time: id, \
            time and how many flows took each, with the beginning of the payload as untrusted \
            data. `next_cursor` leads to the next page.",
        needs: &[Get("/api/v1/events")],
        effect: ToolEffect::Reads,
        schema: settings_schema::<EventSearch>,
    },
    ToolSpec {
        tool: McpTool::Failures,
        name: "failures",
        title: "Failures by cause",
        description: "Groups the newest 10,000 dead letters by where they died and why: count, \
            first and last time, how many are being replayed, one detail as untrusted data. Each \
            row has the filter that dead_letters_preview takes.",
        needs: &[Get("/api/v1/dead-letters")],
        effect: ToolEffect::Reads,
        schema: settings_schema::<FailureSearch>,
    },
    ToolSpec {
        tool: McpTool::ShowAttempt,
        name: "show_attempt",
        title: "One attempt of a delivery",
        description: "Shows one request of a delivery and its answer: time, duration, status, \
            class of the failure, request headers with secret values masked, and the answer's \
            headers and body as untrusted data.",
        needs: &[Get("/api/v1/deliveries/{id}")],
        effect: ToolEffect::Reads,
        schema: settings_schema::<AttemptInput>,
    },
    ToolSpec {
        tool: McpTool::PreviewLetters,
        name: "dead_letters_preview",
        title: "Which dead letters would be replayed",
        description: "Counts the dead letters that a filter chooses and lists the newest. Returns \
            `count` and the completed `filter`, which dead_letters_replay needs. Changes nothing.",
        needs: &[Get("/api/v1/dead-letters")],
        effect: ToolEffect::Reads,
        schema: settings_schema::<LetterPreview>,
    },
    ToolSpec {
        tool: McpTool::ReplayLetters,
        name: "dead_letters_replay",
        title: "Replay dead letters",
        description: "Sends dead letters again: exactly those of a preview, whose `filter` and \
            `count` it needs. If the count has changed since, nothing is sent. Returns how many \
            replays began.",
        needs: &[Get("/api/v1/dead-letters"), Post("/api/v1/dead-letters/replay")],
        effect: ToolEffect::Sends,
        schema: settings_schema::<LettersReplay>,
    },
    ToolSpec {
        tool: McpTool::PauseEndpoint,
        name: "endpoint_pause",
        title: "Pause an endpoint",
        description: "Pauses an endpoint. Waiting deliveries are kept and sent after \
            endpoint_resume. Events captured meanwhile are not delivered to it, unless they are \
            replayed afterwards (`waybill event replay`). Returns the endpoint's state.",
        needs: &[Patch("/api/v1/endpoints/{id}")],
        effect: ToolEffect::Sets,
        schema: settings_schema::<EndpointInput>,
    },
    ToolSpec {
        tool: McpTool::ResumeEndpoint,
        name: "endpoint_resume",
        title: "Resume an endpoint",
        description: "Resumes an endpoint: waiting deliveries are sent now. Events captured \
            during the pause are not among them. Returns the endpoint's state.",
        needs: &[Patch("/api/v1/endpoints/{id}")],
        effect: ToolEffect::Sends,
        schema: settings_schema::<EndpointInput>,
    },
    ToolSpec {
        tool: McpTool::Sources,
        name: "sources",
        title: "Sources",
        description: "Lists the sources: kind, whether each is paused or failing, its lag behind \
            the system that it reads in milliseconds, and since when it has sent nothing.",
        needs: &[Get("/api/v1/sources")],
        effect: ToolEffect::Reads,
        schema: settings_schema::<NoInput>,
    },
    ToolSpec {
        tool: McpTool::Backtest,
        name: "backtest",
        title: "Try module versions on recent events",
        description: "Runs a flow on its newest stored events twice, with its present module \
            versions and with others, and compares: how many results are the same, changed, newly \
            dropped, newly failing. Nothing is stored and nothing is sent. Differences are \
            untrusted data.",
        needs: &[Get("/api/v1/flows/{id}"), Get("/api/v1/events"), Post("/api/v1/flows/{id}/run")],
        effect: ToolEffect::Reads,
        schema: settings_schema::<BacktestInput>,
    },
    ToolSpec {
        tool: McpTool::VerifySignature,
        name: "verify_signature",
        title: "Check a signature",
        description: "Checks a request that a receiver got against an endpoint's stored secret: \
            each signing scheme found, whether it matches, and the fault if it does not (another \
            secret, changed body, old timestamp, wrong encoding).",
        needs: &[Get("/api/v1/endpoints/{id}")],
        effect: ToolEffect::Reads,
        schema: settings_schema::<SignatureInput>,
    },
    ToolSpec {
        tool: McpTool::PlanConfig,
        name: "plan_config",
        title: "What a configuration would change",
        description: "Returns the plan of `waybill apply --dry-run` for a configuration: objects \
            that would be created, changed (with their fields) or deleted. It never applies \
            anything; a person does that.",
        needs: &[Put("/api/v1/config")],
        effect: ToolEffect::Reads,
        schema: settings_schema::<ConfigPlan>,
    },
];

impl ToolSpec {
    /// Finds a tool by name.
    pub fn find_named(name: &str) -> Option<&'static Self> {
        TOOLS.iter().find(|spec| spec.name == name)
    }

    /// Fails if the caller may not use the tool.
    pub fn check_rights(&self, principal: &CallPrincipal) -> Result<(), ApiProblem> {
        self.needs.iter().try_for_each(|need| {
            let (method, route) = need.parts();
            principal.check_call(&method, route)
        })
    }

    /// Returns the description of the tool for clients.
    fn describe_tool(&self) -> Value {
        json!({
            "name": self.name, "title": self.title, "description": self.description,
            "inputSchema": (self.schema)(),
            "annotations": {
                "readOnlyHint": self.effect == ToolEffect::Reads,
                "destructiveHint": false,
                "idempotentHint": self.effect != ToolEffect::Sends,
                "openWorldHint": self.effect == ToolEffect::Sends,
            },
        })
    }
}

/// Returns the descriptions of the tools that a caller may use.
pub fn list_tools(principal: &CallPrincipal) -> Vec<Value> {
    let usable = TOOLS.iter().filter(|spec| spec.check_rights(principal).is_ok());
    usable.map(ToolSpec::describe_tool).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::scope::{RouteNeed, Scope, route_need};
    use std::collections::BTreeSet;

    #[test]
    fn every_tool_is_described_and_names_routes_that_there_are() {
        let document = crate::api::document();
        for spec in &TOOLS {
            assert!(spec.description.len() > 60 && !spec.title.is_empty(), "{}", spec.name);
            let schema = (spec.schema)();
            assert_eq!(schema["type"], "object", "{}", spec.name);
            assert_eq!(schema["additionalProperties"], false, "{}", spec.name);
            let text = schema.to_string();
            assert!(!text.contains("$ref"), "a client does not know {text}");
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let described =
                    property["description"].as_str().is_some_and(|text| !text.is_empty());
                assert!(described, "{} of {}: {property}", name, spec.name);
            }
            for need in spec.needs {
                let (method, route) = need.parts();
                let method = method.as_str().to_lowercase();
                assert!(document["paths"][route][method].is_object(), "{route} of {}", spec.name);
            }
        }
        let names: BTreeSet<&str> = TOOLS.iter().map(|spec| spec.name).collect();
        assert_eq!(names.len(), TOOLS.len());
    }

    #[test]
    fn a_tool_that_changes_something_needs_a_scope_that_may() {
        for spec in &TOOLS {
            let writes = spec.needs.iter().any(|need| {
                let (method, route) = need.parts();
                let need = route_need(&method, route).and_then(RouteNeed::scope);
                need.is_some_and(|scope| !Scope::only_reads(scope))
            });
            let reads = spec.effect == ToolEffect::Reads;
            assert!(reads || writes, "{} changes something", spec.name);
        }
    }
}
