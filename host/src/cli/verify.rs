//! `waybill verify`: finds the signing schemes in a captured request, checks each signature, and
//! explains those that do not fit.

pub mod headers;

use std::fs;
use std::path::PathBuf;

use clap::Args;
use http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{CliError, CommandScreen};
use crate::signing::verify::{
    ReceivedDelivery, SchemeFinding, SignatureVerdict, VerificationKeys, verify_delivery,
};
use crate::time::clock::Clock;
use crate::time::timestamp::Timestamp;

/// Arguments of `waybill verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Secret of the endpoint as it is configured, or its `whpk_` public key for ed25519 alone.
    #[arg(long, value_name = "S", env = "WAYBILL_VERIFY_SECRET", hide_env_values = true)]
    secret: SecretString,
    /// Secret before the last rotation.
    #[arg(long, value_name = "S")]
    previous: Option<SecretString>,
    /// File with the request's headers: lines `Name: value`, as `curl -i` prints them, or a JSON
    /// object.
    #[arg(long, value_name = "FILE")]
    headers: PathBuf,
    /// File with the request's body, byte for byte.
    #[arg(long, value_name = "FILE")]
    body: PathBuf,
    /// Time of the check, because captured requests grow old: RFC 3339 or Unix seconds [default:
    /// now].
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<Timestamp>,
    /// Print JSON on a terminal too.
    #[arg(long)]
    json: bool,
}

fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(Timestamp::from_micros(seconds.saturating_mul(1_000_000)));
    }
    Timestamp::parse(text).map_err(|error| format!("{error}, nor Unix seconds"))
}

/// Checks the request. Fails if a signature does not fit, or if there is none.
pub fn run_verify(args: &VerifyArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    screen.force_json(args.json);
    let text = fs::read_to_string(&args.headers).map_err(CliError::reading(&args.headers))?;
    let headers = headers::parse_headers(&text)
        .map_err(|why| CliError::failed(format!("{}: {why}", args.headers.display())))?;
    let body = fs::read(&args.body).map_err(CliError::reading(&args.body))?;
    let now = args.at.unwrap_or_else(|| Clock::System.now());
    let received = ReceivedDelivery { headers: &headers, body: &body, now };
    let keys = VerificationKeys {
        current: args.secret.expose_secret(),
        previous: args.previous.as_ref().map(ExposeSecret::expose_secret),
    };
    print_findings(&verify_delivery(received, keys), screen)
}

fn print_findings(
    findings: &[SchemeFinding],
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let wrong = findings.iter().filter(|finding| !finding.verdict.fits()).count();
    if screen.is_human() {
        if !findings.is_empty() {
            screen.print_table(
                &["scheme", "header", "fits", ""],
                findings.iter().map(row).collect(),
            )?;
        }
    } else {
        let fits = wrong == 0 && !findings.is_empty();
        let signatures: Vec<Value> = findings.iter().map(json_of).collect();
        screen.print_json(&json!({"fits": fits, "signatures": signatures}))?;
    }
    match wrong {
        _ if findings.is_empty() => Err(CliError::with_next(
            "the headers hold no signature of a known scheme",
            "check that the file has all the request's headers",
        )),
        0 => Ok(()),
        _ => Err(CliError::failed(format!("{wrong} of {} signatures do not fit", findings.len()))),
    }
}

fn row(finding: &SchemeFinding) -> Vec<String> {
    let (fits, words) = match &finding.verdict {
        SignatureVerdict::Fits => ("yes", String::new()),
        SignatureVerdict::FitsPrevious => ("yes", "with the previous secret".to_owned()),
        SignatureVerdict::Wrong(_) => ("no", problems(&finding.verdict).join("\n")),
    };
    vec![finding.scheme.to_string(), finding.header.to_string(), fits.to_owned(), words]
}

fn json_of(finding: &SchemeFinding) -> Value {
    json!({
        "scheme": finding.scheme,
        "header": finding.header.as_str(),
        "fits": finding.verdict.fits(),
        "previous_secret": finding.verdict == SignatureVerdict::FitsPrevious,
        "problems": problems(&finding.verdict),
    })
}

fn problems(verdict: &SignatureVerdict) -> Vec<String> {
    match verdict {
        SignatureVerdict::Fits | SignatureVerdict::FitsPrevious => Vec::new(),
        SignatureVerdict::Wrong(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// Returns one line for each scheme of a request that was received at `at`.
pub fn findings(secret: &str, headers: &HeaderMap, body: &[u8], at: Timestamp) -> Vec<String> {
    let keys = VerificationKeys { current: secret, previous: None };
    let findings = verify_delivery(ReceivedDelivery { headers, body, now: at }, keys);
    if findings.is_empty() {
        return vec!["no signature of a known scheme".to_owned()];
    }
    let line = |finding: &SchemeFinding| match &finding.verdict {
        SignatureVerdict::Fits | SignatureVerdict::FitsPrevious => {
            format!("{} fits", finding.scheme)
        }
        SignatureVerdict::Wrong(_) => {
            format!("{} is wrong: {}", finding.scheme, problems(&finding.verdict).join("; "))
        }
    };
    findings.iter().map(line).collect()
}

#[cfg(test)]
mod tests;
