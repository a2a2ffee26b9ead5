//! Adds what a directory knows of the company behind an e-mail address; see the README.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use waybill_guest::http::{Request, Response};
use waybill_guest::{Draft, Event, Failure, Transform, config, counters, export_module, http, log};

/// The secret that the directory asks for.
const SECRET: &str = "companies";
/// Where the domain goes in the address.
const PLACE: &str = "{domain}";

#[derive(Deserialize)]
struct Settings {
    url: String,
    email: String,
    fields: BTreeMap<String, String>,
    ignore: Vec<String>,
}

struct EnrichCompany;

impl Transform for EnrichCompany {
    fn apply(event: Event) -> Result<Vec<Draft>, Failure> {
        let settings: Settings = config::all()?;
        let mut payload: Map<String, Value> = event.data()?;
        let email = payload.get(&settings.email).and_then(Value::as_str).unwrap_or_default();
        let Some(domain) = company_domain(email, &settings.ignore) else {
            log::info!("no company to ask about");
            return Ok(vec![Draft::json(&payload)?]);
        };
        counters::add("asked", 1);
        let request = Request::get(settings.url.replace(PLACE, &domain)).secret(SECRET);
        let answer = http::send(&request)?;
        match answer.status {
            404 => counters::add("unknown", 1),
            _ => add_fields(&mut payload, &known(&answer)?, &settings.fields),
        }
        Ok(vec![Draft::json(&payload)?])
    }
}

/// The domain of an address, unless a mail provider has it. A name with other characters than
/// those of a host is left out, because it becomes a part of a URL.
fn company_domain(email: &str, ignored: &[String]) -> Option<String> {
    let (_, domain) = email.trim().rsplit_once('@')?;
    let domain = domain.to_ascii_lowercase();
    let is_host = domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    (is_host && domain.contains('.') && !ignored.contains(&domain)).then_some(domain)
}

/// Reads the answer. A busy directory says when to ask again.
fn known(answer: &Response) -> Result<Value, Failure> {
    if answer.is_success() {
        return answer.json();
    }
    let pause = answer.header("retry-after").and_then(|seconds| seconds.parse().ok());
    let failure = answer.failure();
    Err(match pause {
        Some(seconds) => failure.after(Duration::from_secs(seconds)),
        None => failure,
    })
}

/// Adds the members that the answer has. What the CRM knows itself stays.
fn add_fields(payload: &mut Map<String, Value>, answer: &Value, fields: &BTreeMap<String, String>) {
    for (name, place) in fields {
        let is_filled = match payload.get(name) {
            None | Some(Value::Null) => false,
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => true,
        };
        let found = answer.pointer(place).filter(|value| !value.is_null() && !is_filled);
        if let Some(found) = found {
            payload.insert(name.clone(), found.clone());
        }
    }
}

export_module!(EnrichCompany: transform);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use waybill_guest::testing::{self, Host};

    use super::*;

    fn host(answer: fn(&Request) -> Result<Response, Failure>) -> Host {
        let host = Host::with_config(json!({
            "url": "https://api.companies.example/v1/companies/{domain}", "email": "email",
            "fields": {"industry": "/category/industry", "company": "/name"},
            "ignore": ["gmail.com"],
        }));
        host.change(|held| held.http = Some(answer));
        host
    }

    fn apply(lead: Value) -> Result<Value, Failure> {
        let drafts = EnrichCompany::apply(testing::event("lead.created", lead))?;
        Ok(testing::payload(&drafts[0]))
    }

    #[test]
    fn what_the_directory_knows_is_added_and_what_the_crm_knows_stays() {
        let host = host(|request| {
            assert_eq!(request.url, "https://api.companies.example/v1/companies/harbour.example");
            assert_eq!(request.secrets, ["companies"]);
            Ok(testing::answer(200, json!({"name": "H", "category": {"industry": "freight"}})))
        });
        let lead = apply(json!({"email": "e@Harbour.example", "company": "Harbour Ltd"})).unwrap();
        let expected = json!({
            "email": "e@Harbour.example", "company": "Harbour Ltd", "industry": "freight",
        });
        assert_eq!(lead, expected);
        assert_eq!(host.capabilities().counters["asked"], 1);
    }

    #[test]
    fn an_unknown_company_changes_nothing_and_a_private_address_is_not_asked_about() {
        let host = host(|_| Ok(testing::answer(404, json!({}))));
        let lead = json!({"email": "a@nobody.example"});
        assert_eq!(apply(lead.clone()).unwrap(), lead);
        for email in ["a@gmail.com", "a@x/../y", "none", "", "a@localhost"] {
            let lead = json!({ "email": email });
            assert_eq!(apply(lead.clone()).unwrap(), lead);
        }
        let counters = host.capabilities().counters;
        assert_eq!((counters["asked"], counters["unknown"]), (1, 1));
    }

    #[test]
    fn a_busy_directory_is_asked_again_and_a_refusal_is_not() {
        for (status, expected) in [
            (503, Failure::retryable("refused", "the receiver answered 503")),
            (401, Failure::permanent("refused", "the receiver answered 401")),
        ] {
            let _host = match status {
                503 => host(|_| Ok(testing::answer(503, json!({})))),
                _ => host(|_| Ok(testing::answer(401, json!({})))),
            };
            assert_eq!(apply(json!({"email": "a@b.example"})).unwrap_err(), expected);
        }
    }
}
