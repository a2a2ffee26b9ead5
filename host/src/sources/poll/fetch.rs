//! Fetches the pages of a list over HTTP.

use super::super::RunFailed;
use super::moment;
use super::page::PolledPage;
use super::plan::ListPlan;
use crate::delivery::attempt::USER_AGENT;
use crate::model::poll_source::SinceFormat;
use crate::net::http_client::{ClientReply, DeliveryClient};
use crate::net::http_url::read_http_url;
use crate::net::retry_after::retry_after;
use crate::time::clock::Clock;
use crate::time::span::TimeSpan;
use crate::time::timestamp::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// The time limit for one page.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest page, in bytes.
const MOST: usize = 32 * 1024 * 1024;
/// The wait after "too many requests" without a time (as in n8n-nodes-perfexcrm), and the longest
/// wait that a run obeys.
const WAIT: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(24));
/// How often the request for a page is repeated after such a wait.
const PATIENCE: usize = 20;

/// What is needed to fetch the pages of a list.
#[derive(Debug)]
pub struct ListFetch<'a> {
    pub plan: &'a ListPlan,
    pub client: &'a DeliveryClient,
    pub secret: Option<&'a str>,
    pub clock: &'a Clock,
    /// Whether to wait when the API asks for fewer requests. If not, that is an error.
    pub waits: bool,
}

impl ListFetch<'_> {
    /// Fetches a page; the first is 1. If the API asks for a pause, repeats the request after it.
    pub async fn page(
        &self,
        since: Option<Timestamp>,
        page: u32,
        size: u32,
    ) -> Result<PolledPage, RunFailed> {
        let uri = self.uri(since, page, size)?;
        let headers = self.headers()?;
        for _ in 0..PATIENCE {
            let reply = self.client.get(uri.clone(), headers.clone(), TIMEOUT, MOST).await;
            let reply = reply.map_err(|error| {
                RunFailed::new(format!(
                    "the API did not answer: {error}; look at the source's `url`"
                ))
            })?;
            match asked_pause(&reply, self.clock.now()) {
                Some(wait) if !self.waits => {
                    let wait = TimeSpan::new(wait);
                    return Err(RunFailed::new(format!(
                        "the API asks for a pause of {wait}; try again then"
                    )));
                }
                Some(wait) => {
                    let list = &self.plan.list;
                    tracing::info!(list, seconds = wait.as_secs(), "the API asked for a pause");
                    tokio::time::sleep(wait).await;
                }
                None => return self.read(reply),
            }
        }
        Err(RunFailed::new("the API still answers 429; poll less often"))
    }

    fn read(&self, reply: ClientReply) -> Result<PolledPage, RunFailed> {
        if reply.status == StatusCode::NOT_FOUND && is_empty_list(&reply.body) {
            return Ok(PolledPage::empty());
        }
        if !reply.status.is_success() {
            return Err(RunFailed::new(refusal(reply.status)));
        }
        if reply.truncated {
            let message =
                "the API's answer broke off, or is larger than 32 MiB; ask for smaller pages";
            return Err(RunFailed::new(message));
        }
        PolledPage::read(self.plan, reply.body)
    }

    fn uri(&self, since: Option<Timestamp>, page: u32, size: u32) -> Result<Uri, RunFailed> {
        let plan = self.plan;
        let mut query: Vec<(&str, String)> = Vec::new();
        if let (Some(asked), Some(at)) = (&plan.since, since) {
            let text = match asked.format {
                SinceFormat::Unix => at.seconds().to_string(),
                SinceFormat::Iso | SinceFormat::None => moment::iso(at, &plan.zone),
            };
            query.push((&asked.parameter, text));
        }
        query.extend(plan.fixed.iter().map(|(name, value)| (*name, (*value).to_owned())));
        query.extend(plan.page.as_deref().map(|name| (name, page.to_string())));
        query.extend(plan.size_parameter.as_deref().map(|name| (name, size.to_string())));
        let query = serde_urlencoded::to_string(query).unwrap_or_default();
        let mark = if plan.url.contains('?') { '&' } else { '?' };
        let text = format!("{}{mark}{query}", plan.url);
        read_http_url(&text)
            .map_err(|_opaque| RunFailed::new("the list's path does not make an address"))
    }

    fn headers(&self) -> Result<HeaderMap, RunFailed> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        if let Some(secret) = self.secret {
            let auth = &self.plan.auth;
            let name: HeaderName = auth
                .header
                .parse()
                .map_err(|_opaque| RunFailed::new("`auth.header` is not the name of a header"))?;
            let mut value: HeaderValue = format!("{}{secret}", auth.prefix)
                .parse()
                .map_err(|_opaque| RunFailed::new("the secret cannot stand in a header"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(headers)
    }
}

/// Returns the pause that an API asks for, if any.
pub fn asked_pause(reply: &ClientReply, now: Timestamp) -> Option<Duration> {
    let told = retry_after(&reply.headers, now);
    let wait = match reply.status {
        StatusCode::TOO_MANY_REQUESTS => told.or_else(|| in_body(&reply.body)).unwrap_or(WAIT.0),
        StatusCode::SERVICE_UNAVAILABLE => told?,
        _ => return None,
    };
    Some(wait.min(WAIT.1))
}

/// The message of an API's error answer. Other members are skipped while parsing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ApiMessage {
    retry_after: Value,
    status: Value,
    message: Value,
}

/// The longest body that is searched for a message, in bytes.
const LONGEST_SAYING: usize = 64 * 1024;

fn said(body: &[u8]) -> ApiMessage {
    let body = if body.len() <= LONGEST_SAYING { body } else { &[] };
    serde_json::from_slice(body).unwrap_or_default()
}

fn in_body(body: &[u8]) -> Option<Duration> {
    let seconds = said(body).retry_after;
    seconds.as_u64().or_else(|| seconds.as_str()?.parse().ok()).map(Duration::from_secs)
}

/// Whether this is Themesic's answer for a list without rows, which has the status 404.
fn is_empty_list(body: &[u8]) -> bool {
    let said = said(body);
    let message = said.message.as_str().unwrap_or_default();
    said.status == Value::Bool(false) && message.starts_with("No data")
}

fn refusal(status: StatusCode) -> String {
    let what = match status.as_u16() {
        401 | 403 => "the API refused the secret; give the source the right one",
        404 => "the API has no such list; look at the source's `url` and the list's name",
        300..=399 => {
            "the API redirects, and redirects are not followed; set the source's `url` to the new address"
        }
        400..=499 => "the API did not take the request; look at the list's settings",
        _ => "the API failed; it is asked again at the next run",
    };
    format!("{what} (answered {status})")
}
