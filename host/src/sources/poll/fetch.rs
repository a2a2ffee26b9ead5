//! One page of a list over HTTP.

use super::super::RunFailed;
use super::moment;
use super::page::PolledPage;
use super::plan::ListPlan;
use crate::delivery::attempt::USER_AGENT;
use crate::delivery::judge::retry_after;
use crate::model::poll_source::SinceFormat;
use crate::net::http_client::{ClientReply, DeliveryClient};
use crate::net::http_url::read_http_url;
use crate::time::clock::Clock;
use crate::time::span::TimeSpan;
use crate::time::timestamp::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// How long a page may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How large a page may be, in bytes.
const MOST: usize = 32 * 1024 * 1024;
/// The wait that an API means that says only that there were too many requests
/// (n8n-nodes-perfexcrm), and the longest that is obeyed in one go.
const WAIT: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(24));
/// How often one page is put off.
const PATIENCE: usize = 20;

/// What fetching a list takes.
#[derive(Debug)]
pub struct ListFetch<'a> {
    pub plan: &'a ListPlan,
    pub client: &'a DeliveryClient,
    pub secret: Option<&'a str>,
    pub clock: &'a Clock,
    /// Whether it waits where the API wants to be left alone.
    pub waits: bool,
}

impl ListFetch<'_> {
    /// A page, counted from 1. Where the API has too much to do, it is asked again when it says.
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
            match self.put_off(&reply) {
                Some(wait) if !self.waits => {
                    let wait = TimeSpan::new(wait);
                    return Err(RunFailed::new(format!(
                        "the API wants to be left alone for {wait}; try again then"
                    )));
                }
                Some(wait) => {
                    let list = &self.plan.list;
                    tracing::info!(list, seconds = wait.as_secs(), "an API wants to be left alone");
                    tokio::time::sleep(wait).await;
                }
                None => return self.read(reply),
            }
        }
        Err(RunFailed::new(
            "the API goes on saying that there are too many requests; ask it more rarely",
        ))
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

    /// How long the API wants to be left alone.
    fn put_off(&self, reply: &ClientReply) -> Option<Duration> {
        let told = retry_after(&reply.headers, self.clock.now());
        let wait = match reply.status {
            StatusCode::TOO_MANY_REQUESTS => {
                told.or_else(|| in_body(&reply.body)).unwrap_or(WAIT.0)
            }
            StatusCode::SERVICE_UNAVAILABLE => told?,
            _ => return None,
        };
        Some(wait.min(WAIT.1))
    }
}

/// What such APIs say beside their status. Whatever else an answer holds is skipped, not kept.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ApiMessage {
    retry_after: Value,
    status: Value,
    message: Value,
}

/// The longest answer that says something in its body, in bytes.
const LONGEST_SAYING: usize = 64 * 1024;

fn said(body: &[u8]) -> ApiMessage {
    let body = if body.len() <= LONGEST_SAYING { body } else { &[] };
    serde_json::from_slice(body).unwrap_or_default()
}

fn in_body(body: &[u8]) -> Option<Duration> {
    let seconds = said(body).retry_after;
    seconds.as_u64().or_else(|| seconds.as_str()?.parse().ok()).map(Duration::from_secs)
}

/// Themesic answers so where a list has no rows.
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
            "the API sends elsewhere, and redirects are not followed; set the source's `url` to where it is"
        }
        400..=499 => "the API did not take the request; look at the list's settings",
        _ => "the API failed; it is asked again at the next run",
    };
    format!("{what} (answered {status})")
}
