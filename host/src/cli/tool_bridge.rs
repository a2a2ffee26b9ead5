//! `waybill mcp`: offers the server's tools over standard input and output to a program that speaks
//! the Model Context Protocol. Each message goes unchanged to the server's `POST /mcp`, and the
//! answer comes back unchanged, so both transports have the same tools, rights and audit.

use bytes::Bytes;
use clap::Args;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use super::client::{RemoteServer, ServerClient};
use super::{CliError, CommandScreen};

/// Largest message, in bytes. The server accepts `server.max_body`, 1 MiB by default.
const LONGEST_MESSAGE: u64 = 16 << 20;
/// JSON-RPC code of an internal error.
const INTERNAL_ERROR: i32 = -32603;

/// Arguments of `waybill mcp`.
#[derive(Debug, Args)]
pub struct McpArgs {
    #[command(flatten)]
    remote: RemoteServer,
}

/// Carries messages until standard input ends.
pub async fn run_bridge(args: McpArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    let client = args.remote.connect(screen)?;
    carry_messages(&client, BufReader::new(tokio::io::stdin()), screen).await
}

/// Carries messages, one on each line, and writes the answers.
async fn carry_messages(
    client: &ServerClient,
    mut messages: impl AsyncBufRead + Unpin,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut messages).take(LONGEST_MESSAGE);
        if bounded.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        if line.len() as u64 == LONGEST_MESSAGE && line.last() != Some(&b'\n') {
            return Err(CliError::failed(format!(
                "a message has more than {LONGEST_MESSAGE} bytes; each message must be one line"
            )));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        if let Some(answer) = carry_message(client, line).await {
            screen.print_line(answer)?;
        }
    }
}

/// Carries a message and returns the answer. Returns `None` if the message expects none.
async fn carry_message(client: &ServerClient, line: Vec<u8>) -> Option<String> {
    let message: Value = serde_json::from_slice(&line).unwrap_or_default();
    let id = message.get("id").cloned();
    let failure = match client.post_message("/mcp", Bytes::from(line)).await {
        Ok((StatusCode::ACCEPTED, _)) => return None,
        Ok((status, body)) => match serde_json::from_slice::<Value>(&body) {
            // Written in one line, whatever the server's version does.
            Ok(answer) if answer.get("jsonrpc").is_some() => return Some(answer.to_string()),
            Ok(problem) => describe_problem(status, &problem),
            Err(_no_json) => describe_problem(status, &Value::Null),
        },
        Err(error) => crate::error_chain::error_messages(&error).collect::<Vec<_>>().join(": "),
    };
    // A message without an id gets no answer, whatever happens.
    let id = id?;
    let error = json!({"code": INTERNAL_ERROR, "message": failure});
    Some(json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string())
}

/// Describes why the server refused a message, with a next step.
fn describe_problem(status: StatusCode, problem: &Value) -> String {
    let detail = problem.get("detail").and_then(Value::as_str).unwrap_or("no reason was given");
    let next = match status.as_u16() {
        401 => "set WAYBILL_TOKEN to a token of this server",
        404 | 405 => "check that the URL is that of a Waybill server of this version",
        429 | 503 => "wait a few seconds and send it again",
        _ => "look into the server's log",
    };
    format!("the server answered {}: {detail}; {next}", status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_that_cannot_be_carried_is_answered_in_words() {
        let mut out = Vec::new();
        let mut screen = CommandScreen::new(&mut out, false);
        // No server listens on port 9 of loopback.
        let client = RemoteServer::to("http://127.0.0.1:9", "t").connect(&mut screen).unwrap();
        let messages = b"\n{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"ping\"}\n\
            {\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}";
        carry_messages(&client, &messages[..], &mut screen).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(7), &json!(INTERNAL_ERROR)));
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains("127.0.0.1:9"), "{message}");
    }

    #[test]
    fn a_refusal_names_the_next_step() {
        let problem = json!({"detail": "this token is not known here"});
        let told = describe_problem(StatusCode::UNAUTHORIZED, &problem);
        assert!(told.contains("not known here") && told.contains("WAYBILL_TOKEN"), "{told}");
    }
}
