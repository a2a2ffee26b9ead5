//! How the sites of different vendors are asked and how they answer.
//!
//! | | asked at | key in | order | a page is |
//! |---|---|---|---|---|
//! | Data Builder | `/api/v1/{list}?since=ISO&page=&per_page=` | `Authorization: Bearer` | newest first | at most 100 rows |
//! | Themesic | `/api/zapier/poll/{list}?since=UNIX&limit=` | `authtoken` | newest first | as many as asked for |
//! | `PerfexAPI` | `/api/v1/{list}?page=&limit=` | `X-API-KEY` | last added first | at most 100 rows |
//! | custom | `/erp/{list}?changed_after=ISO or UNIX&p=&n=` | `X-Token` | oldest first | at most 40 rows |
//!
//! Themesic's behaviour is that of its published code: invoices are filtered by the day of issue,
//! tickets by `date`, and `since=0` counts as none, which means the last 24 hours.

use hyper::header::HeaderMap;
use serde_json::{Value, json};

use super::Asked;
use super::rows::{Rows, Wanted};
use super::time;

/// The interface of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Data Builder for Perfex CRM.
    DataBuilder,
    /// Themesic's REST API for Perfex CRM.
    Themesic,
    /// `PerfexAPI`.
    Perfexapi,
    /// An invented interface: other names everywhere, and the oldest first.
    Custom,
}

impl Dialect {
    /// All dialects.
    pub const ALL: [Self; 4] = [Self::DataBuilder, Self::Themesic, Self::Perfexapi, Self::Custom];

    /// Returns the path above its lists.
    const fn base(self) -> &'static str {
        match self {
            Self::DataBuilder | Self::Perfexapi => "/api/v1/",
            Self::Themesic => "/api/zapier/poll/",
            Self::Custom => "/erp/",
        }
    }

    /// Returns the list that a path names.
    pub(super) fn list(self, path: &str) -> Option<&str> {
        path.strip_prefix(self.base()).filter(|list| !list.is_empty() && !list.contains('/'))
    }

    /// Returns whether a request has the key.
    pub(super) fn knows(self, key: &str, headers: &HeaderMap) -> bool {
        let (header, wanted) = match self {
            Self::DataBuilder => ("authorization", format!("Bearer {key}")),
            Self::Themesic => ("authtoken", key.to_owned()),
            Self::Perfexapi => ("x-api-key", key.to_owned()),
            Self::Custom => ("x-token", key.to_owned()),
        };
        headers.get(header).is_some_and(|given| given.as_bytes() == wanted.as_bytes())
    }

    /// Returns the parameters of a page's number and size.
    const fn paging(self) -> (&'static str, &'static str) {
        match self {
            Self::DataBuilder => ("page", "per_page"),
            Self::Themesic | Self::Perfexapi => ("page", "limit"),
            Self::Custom => ("p", "n"),
        }
    }

    /// Returns the default and the largest size of a page.
    const fn page_size(self) -> (usize, usize) {
        match self {
            Self::DataBuilder | Self::Perfexapi => (25, 100),
            Self::Themesic => (50, usize::MAX),
            Self::Custom => (40, 40),
        }
    }

    /// Returns the one column by which a list is filtered and sorted, if it is not the first
    /// existing one.
    pub(super) fn time_column(self, list: &str) -> Option<&'static str> {
        match (self, list) {
            (Self::Themesic, "invoices" | "tickets") => Some("date"),
            (Self::Custom, _) => Some("modified"),
            _ => None,
        }
    }

    /// Returns the page that a request asks for, from 1.
    pub(super) fn page(self, asked: &Asked) -> usize {
        number(asked, self.paging().0).unwrap_or(1).max(1)
    }

    /// Returns the time from which a request asks for rows.
    pub(super) fn since(self, asked: &Asked, ahead: i64) -> Option<i64> {
        match self {
            Self::DataBuilder => time::unix(asked.query.get("since")?, ahead),
            Self::Themesic => asked.query.get("since")?.parse().ok(),
            Self::Perfexapi => None,
            Self::Custom => {
                let text = asked.query.get("changed_after")?;
                text.parse().ok().or_else(|| time::unix(text, ahead))
            }
        }
    }

    /// Returns the answer to a request for rows. `limit` is the largest page of the site.
    pub(super) fn answer(self, asked: &Asked, rows: &Rows, limit: usize) -> Value {
        let (usual, most) = self.page_size();
        let take = number(asked, self.paging().1).filter(|n| *n > 0).unwrap_or(usual);
        let take = take.min(most).min(limit);
        let page = if self == Self::Themesic { 1 } else { self.page(asked) };
        let since = self.effective_since(asked);
        let wanted = Wanted { since, skip: (page - 1).saturating_mul(take), take };
        let (found, total) = rows.find(&asked.list, wanted);
        match self {
            Self::DataBuilder => json!({
                "data": found,
                "meta": {"current_page": page, "per_page": take, "total": total},
                "links": links(asked, page, total.div_ceil(take)),
            }),
            Self::Themesic => {
                let meta = json!({"since": since, "count": found.len(), "next_poll": asked.at});
                json!({"status": true, "data": found, "meta": meta})
            }
            // Some versions answer with the rows alone.
            Self::Perfexapi if asked.list == "leads" => json!(found),
            Self::Perfexapi => json!({"data": found}),
            Self::Custom => json!({"result": {"items": found}}),
        }
    }

    fn effective_since(self, asked: &Asked) -> Option<i64> {
        let Self::Themesic = self else { return asked.since };
        let since = asked.since.filter(|since| *since != 0).unwrap_or(asked.at - 86_400);
        // A day's invoices have its midnight as their time.
        let day = if asked.list == "invoices" { asked.midnight(since) } else { since };
        Some(day)
    }

    /// Returns the answer to a request without the right key. Like some real ones it repeats the
    /// given key.
    pub(super) fn refusal(self, headers: &HeaderMap) -> Value {
        let given = ["authorization", "authtoken", "x-api-key", "x-token"];
        let given = given.iter().find_map(|name| headers.get(*name)?.to_str().ok());
        let message = format!("unknown key {}", given.unwrap_or("(none)"));
        match self {
            Self::DataBuilder => {
                json!({"type": "about:blank", "title": "Unauthorized", "status": 401, "detail": message})
            }
            Self::Themesic => json!({"status": false, "message": message}),
            Self::Perfexapi | Self::Custom => json!({"error": message}),
        }
    }
}

fn number(asked: &Asked, parameter: &str) -> Option<usize> {
    asked.query.get(parameter)?.parse().ok()
}

fn links(asked: &Asked, page: usize, last: usize) -> Value {
    let link = |page: usize| format!("/api/v1/{}?page={page}", asked.list);
    json!({
        "self": link(page),
        "first": link(1),
        "last": link(last.max(1)),
        "prev": (page > 1).then(|| link(page - 1)),
        "next": (page < last).then(|| link(page + 1)),
    })
}
