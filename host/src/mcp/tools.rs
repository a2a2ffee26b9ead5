//! The work of each tool.

pub mod attempt_tool;
pub mod backtest_tool;
pub mod endpoint_tools;
pub mod event_tools;
pub mod failure_tool;
pub mod letter_tools;
pub mod overview_tool;
pub mod plan_tool;
pub mod signature_tool;
pub mod source_tool;

use super::rest_caller::RestRouter;
use super::tool_answer::ToolAnswer;
use super::tool_failure::ToolFailure;
use super::tool_input::{NoInput, read_input};
use super::tool_table::McpTool;
use crate::api::AppState;
use crate::api::auth::CallPrincipal;
use crate::api::reading::ReadingPlace;
use http::Method;
use serde_json::Value;

/// The context of a tool's call.
#[derive(Debug, Clone, Copy)]
pub struct ToolCall<'a> {
    pub app: &'a AppState,
    pub rest: &'a RestRouter,
    pub principal: &'a CallPrincipal,
}

/// The result of a tool.
pub type ToolResult = Result<ToolAnswer, ToolFailure>;

impl ToolCall<'_> {
    /// Gets a path of the REST API. Returns the whole answer.
    async fn get_answer(&self, path: &str) -> Result<Value, ToolFailure> {
        self.rest.call_route(self.principal, (Method::GET, path), None).await
    }

    /// Gets a path of the REST API. Returns the answer's `data`.
    async fn get_data(&self, path: &str) -> Result<Value, ToolFailure> {
        Ok(take_data(self.get_answer(path).await?))
    }

    /// Sends a body to a path of the REST API. Returns the answer's `data`.
    async fn send_body(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Value, ToolFailure> {
        let answer = self.rest.call_route(self.principal, (method, path), Some(body)).await?;
        Ok(take_data(answer))
    }

    /// Waits for the caller's turn to read from the database. Only for reads without a route.
    async fn take_turn(&self) -> Result<ReadingPlace, ToolFailure> {
        Ok(self.app.reading.place(self.principal.token().id).await?)
    }

    /// Whether the caller may read this route of the REST API.
    fn may_read(&self, route: &str) -> bool {
        self.principal.may_call(&Method::GET, route)
    }
}

fn take_data(mut answer: Value) -> Value {
    answer.get_mut("data").map(Value::take).unwrap_or_default()
}

/// Returns a count with its noun.
fn count_things(count: u64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

pub async fn run_tool(tool: McpTool, call: &ToolCall<'_>, given: Value) -> ToolResult {
    match tool {
        McpTool::Overview => {
            read_input::<NoInput>(&given)?;
            overview_tool::show_overview(call).await
        }
        McpTool::ExplainEvent => event_tools::explain_event(call, &read_input(&given)?).await,
        McpTool::FindEvents => event_tools::find_events(call, &read_input(&given)?).await,
        McpTool::Failures => failure_tool::list_failures(call, read_input(&given)?).await,
        McpTool::ShowAttempt => attempt_tool::show_attempt(call, &read_input(&given)?).await,
        McpTool::PreviewLetters => letter_tools::preview_letters(call, read_input(&given)?).await,
        McpTool::ReplayLetters => letter_tools::replay_letters(call, &read_input(&given)?).await,
        McpTool::PauseEndpoint => {
            endpoint_tools::set_enabled(call, &read_input(&given)?, false).await
        }
        McpTool::ResumeEndpoint => {
            endpoint_tools::set_enabled(call, &read_input(&given)?, true).await
        }
        McpTool::Sources => {
            read_input::<NoInput>(&given)?;
            source_tool::list_sources(call).await
        }
        McpTool::Backtest => backtest_tool::run_backtest(call, &read_input(&given)?).await,
        McpTool::VerifySignature => signature_tool::verify_signature(call, &read_input(&given)?),
        McpTool::PlanConfig => plan_tool::plan_config(call, read_input(&given)?).await,
    }
}
