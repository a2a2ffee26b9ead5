//! `verify_signature`: checks a request against the secret of an endpoint, and explains a mismatch.

use super::{ToolCall, ToolResult};
use crate::api::endpoints::find_endpoint;
use crate::api::events::time;
use crate::mcp::tool_answer::{ToolAnswer, mark_untrusted};
use crate::mcp::tool_failure::ToolFailure;
use crate::mcp::tool_input::SignatureInput;
use crate::model::secrets::SigningSecrets;
use crate::signing::verify::{
    ReceivedDelivery, SchemeFinding, SignatureVerdict, VerificationKeys, verify_delivery,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Most bytes of a problem, which may repeat a value of the request.
const MOST_TEXT: usize = 512;

/// Checks a request against the stored secrets of an endpoint, which are not shown.
pub fn verify_signature(call: &ToolCall<'_>, input: &SignatureInput) -> ToolResult {
    let target = find_endpoint(&call.app.live.current_settings(), &input.endpoint)?;
    let secrets = target.secrets.as_ref().ok_or_else(|| {
        ToolFailure::changed(
            "this server's key cannot decrypt the secret of this endpoint",
            "tell a person, who has to enter the secret again",
        )
    })?;
    let at = time("at", input.at.as_deref())?;
    let headers = read_headers(&input.headers)?;
    let received = ReceivedDelivery {
        headers: &headers,
        body: input.body.as_bytes(),
        now: at.unwrap_or_else(|| call.app.journal.clock().wall()),
    };
    Ok(describe_findings(&verify_delivery(received, verification_keys(secrets))))
}

fn verification_keys(secrets: &SigningSecrets) -> VerificationKeys<'_> {
    let previous = secrets.previous.as_ref().map(|graced| graced.secret.as_str());
    VerificationKeys { current: &secrets.current, previous }
}

fn read_headers(given: &BTreeMap<String, String>) -> Result<HeaderMap, ToolFailure> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let pair = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value.trim()).ok());
        let (name, value) = pair
            .ok_or_else(|| ToolFailure::wrong_argument("`headers` has an invalid name or value"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn describe_findings(findings: &[SchemeFinding]) -> ToolAnswer {
    let wrong = findings.iter().filter(|finding| !finding.verdict.fits()).count();
    let all = findings.len();
    let sentence = match (all, wrong) {
        (0, _) => "The headers hold no signature of a known scheme. Check that all headers of \
            the request are given."
            .to_owned(),
        (_, 0) => format!("Each signature matches ({all})."),
        (_, _) => format!("{wrong} of {all} signatures do not match; `problems` says why."),
    };
    ToolAnswer::new(sentence)
        .with_fact("fits", wrong == 0 && all > 0)
        .with_rows("signatures", findings.iter().map(describe_finding).collect())
}

fn describe_finding(finding: &SchemeFinding) -> Value {
    let problems: Vec<String> = match &finding.verdict {
        SignatureVerdict::Fits | SignatureVerdict::FitsPrevious => Vec::new(),
        SignatureVerdict::Wrong(problems) => problems.iter().map(ToString::to_string).collect(),
    };
    let mut row = Map::new();
    row.insert("scheme".to_owned(), json!(finding.scheme));
    row.insert("header".to_owned(), json!(finding.header.as_str()));
    row.insert("fits".to_owned(), json!(finding.verdict.fits()));
    let is_previous = finding.verdict == SignatureVerdict::FitsPrevious;
    row.insert("previous_secret".to_owned(), json!(is_previous));
    if !problems.is_empty() {
        mark_untrusted(&mut row, &json!({"problems": problems}), (&["problems"], MOST_TEXT));
    }
    Value::Object(row)
}
