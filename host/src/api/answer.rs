//! The shape of every answer: `{"data": …}`, with `meta` and `links` on lists.

use super::problem::ApiProblem;
use crate::store::ListPage;
use axum::Json;
use http::Uri;
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::str::FromStr;
use utoipa::{IntoParams, ToSchema};

/// An answer with one object.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Data)]
pub struct DataAnswer<T> {
    /// The object that the call is about.
    pub data: T,
}

/// Answers with one object.
pub fn data_answer<T: Serialize>(data: T) -> Json<DataAnswer<T>> {
    Json(DataAnswer { data })
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = List)]
pub struct ListAnswer<T> {
    /// The objects of the page.
    pub data: Vec<T>,
    /// Information about the page.
    pub meta: PageMeta,
    /// Links to other pages.
    pub links: PageLinks,
}

/// Information about a page.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Meta)]
pub struct PageMeta {
    /// Number of objects on the page.
    pub count: usize,
    /// The `cursor` of the next page. Absent on the last page. A page of a filtered list may be
    /// short, or empty, and not be the last: one request examines 10,000 rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Links to other pages.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Links)]
pub struct PageLinks {
    /// The next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Selects a page of a list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageRequest {
    /// The `meta.next_cursor` of the previous page.
    pub cursor: Option<String>,
    /// Number of objects, 1 to 200. Default: 50.
    pub limit: Option<String>,
}

/// Largest number of objects on a page.
const MOST: u32 = 200;
/// Default number of objects on a page.
const USUAL: u32 = 50;

impl PageRequest {
    /// Returns the number of objects to show.
    pub fn limit(&self) -> Result<u32, ApiProblem> {
        let Some(text) = &self.limit else { return Ok(USUAL) };
        match text.parse() {
            Ok(limit @ 1..=MOST) => Ok(limit),
            Ok(_) | Err(_) => Err(ApiProblem::fault("limit", format!("a number from 1 to {MOST}"))),
        }
    }

    /// Returns the id after which the page begins.
    pub fn after<I: FromStr>(&self) -> Result<Option<I>, ApiProblem> {
        let Some(text) = &self.cursor else { return Ok(None) };
        let wrong = |_| ApiProblem::fault("cursor", "is not a cursor of this list");
        text.parse().map(Some).map_err(wrong)
    }
}

/// Answers with a list that has only one page.
pub fn whole_list<T: Serialize>(data: Vec<T>) -> Json<ListAnswer<T>> {
    let meta = PageMeta { count: data.len(), next_cursor: None };
    Json(ListAnswer { data, meta, links: PageLinks { next: None } })
}

/// Answers with a page of a list.
pub fn list_page<R, T: Serialize, I: Display>(
    uri: &Uri,
    page: ListPage<R, I>,
    show: impl Fn(R) -> T,
) -> Json<ListAnswer<T>> {
    let next_cursor = page.next.map(|id| id.to_string());
    let next = next_cursor.as_ref().map(|cursor| next_link(uri, cursor));
    let data: Vec<T> = page.rows.into_iter().map(show).collect();
    let meta = PageMeta { count: data.len(), next_cursor };
    Json(ListAnswer { data, meta, links: PageLinks { next } })
}

/// Returns the address of the next page.
pub fn next_link(uri: &Uri, cursor: &str) -> String {
    let kept = uri.query().unwrap_or_default().split('&');
    let kept = kept.filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let mut query: Vec<&str> = kept.collect();
    let cursor = format!("cursor={cursor}");
    query.push(&cursor);
    format!("{}?{}", uri.path(), query.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_the_next_and_keeps_the_filters() {
        let uri: Uri = "/api/v1/events?type=a.b&cursor=old&limit=2".parse().unwrap();
        let page = |rows, next| list_page(&uri, ListPage { rows, next }, |n| n);
        let Json(first) = page(vec![3, 2], Some(2));
        assert_eq!(first.data, [3, 2]);
        assert_eq!(first.links.next.as_deref(), Some("/api/v1/events?type=a.b&limit=2&cursor=2"));
        let Json(last) = page(vec![1], None);
        assert_eq!((last.meta.next_cursor, last.links.next), (None, None));
    }

    #[test]
    fn limits_are_bounded() {
        let limit =
            |text: &str| PageRequest { cursor: None, limit: Some(text.to_owned()) }.limit().ok();
        assert_eq!(limit("200"), Some(200));
        assert_eq!((limit("0"), limit("201"), limit("x")), (None, None, None));
    }
}
