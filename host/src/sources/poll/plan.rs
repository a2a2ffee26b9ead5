//! How one list is requested: the settings, completed by the preset's defaults.

use super::super::RunFailed;
use crate::catalog;
use crate::model::poll_source::{
    ApiPreset, AuthHeader, ListSettings, PagingParameters, PollSettings, SinceFormat,
    SinceParameter,
};
use crate::time::cron;
use crate::time::span::TimeSpan;
use jiff::tz::TimeZone;
use std::time::Duration;

/// How one list is requested.
#[derive(Debug)]
pub struct ListPlan {
    /// The list's name, under which its rows are stored.
    pub list: String,
    /// The URL of the list.
    pub url: String,
    pub auth: AuthHeader,
    pub since: Option<SinceParameter>,
    /// The query parameter for the number of the page, if the API has pages.
    pub page: Option<String>,
    /// The query parameter for the number of rows on a page.
    pub size_parameter: Option<String>,
    /// The number of rows on a page.
    pub size: u32,
    /// Further query parameters.
    pub fixed: &'static [(&'static str, &'static str)],
    pub rows: Option<String>,
    pub resource: String,
    pub created: String,
    pub updated: String,
    /// The fields that may hold a row's id, in the order in which they are tried.
    pub keys: Vec<String>,
    /// The fields that may hold a row's time, in the order in which they are tried.
    pub timestamp: Option<String>,
    pub zone: TimeZone,
    pub overlap: Duration,
    /// Whether the rows belong to a CRM, so that its secret fields are removed.
    pub is_crm: bool,
}

impl ListPlan {
    pub fn of(settings: &PollSettings, list: &ListSettings) -> Result<Self, RunFailed> {
        let usual = usual(settings.preset);
        let name = list.name();
        let named = catalog::resource_at(name).map_or_else(|| singular(name), str::to_owned);
        let resource = list.resource.clone().unwrap_or(named);
        let of_resource = |what: &str| format!("{resource}.{what}");
        let paging = settings.paging.clone().unwrap_or(usual.paging);
        let since = settings.since.clone().unwrap_or(usual.since);
        let known = catalog::get().find(&of_resource("created")).map(|known| known.key.to_owned());
        let keys = match &list.key {
            Some(key) => vec![key.clone()],
            None => ["id".to_owned()].into_iter().chain(known).chain([of_id(&resource)]).collect(),
        };
        let parameter = |name: String| Some(name).filter(|name| !name.is_empty());
        Ok(Self {
            list: settings.list_name(list),
            url: format!("{}{}{}", settings.url.trim_end_matches('/'), usual.path, list.path),
            auth: settings.auth.clone().unwrap_or(usual.auth),
            since: (since.format != SinceFormat::None).then_some(since),
            page: parameter(paging.page),
            size_parameter: parameter(paging.size),
            size: paging.rows,
            fixed: usual.fixed,
            rows: list.rows.clone(),
            created: list.created.clone().unwrap_or_else(|| of_resource("created")),
            updated: list.updated.clone().unwrap_or_else(|| of_resource("updated")),
            keys,
            timestamp: list.timestamp.clone(),
            zone: cron::read_zone(settings.time_zone.as_deref()).map_err(RunFailed::new)?,
            overlap: TimeSpan::get(settings.overlap),
            is_crm: settings.preset != ApiPreset::Custom,
            resource,
        })
    }
}

/// Makes `order` of `orders`.
fn singular(name: &str) -> String {
    let name = name.replace('-', "_");
    name.strip_suffix('s').unwrap_or(&name).to_owned()
}

fn of_id(resource: &str) -> String {
    format!("{resource}_id")
}

/// The defaults of a preset.
struct PresetDefaults {
    path: &'static str,
    auth: AuthHeader,
    since: SinceParameter,
    paging: PagingParameters,
    fixed: &'static [(&'static str, &'static str)],
}

/// Returns the defaults of a preset. Sources: the vendors' documentation and published code.
fn usual(preset: ApiPreset) -> PresetDefaults {
    let auth =
        |header: &str, prefix: &str| AuthHeader { header: header.into(), prefix: prefix.into() };
    let since = |format| SinceParameter { parameter: "since".into(), format };
    let paging = |page: &str, size: &str| PagingParameters {
        page: page.into(),
        size: size.into(),
        rows: 100,
    };
    match preset {
        ApiPreset::DataBuilder => PresetDefaults {
            path: "/api/v1/",
            auth: auth("authorization", "Bearer "),
            since: since(SinceFormat::Iso),
            paging: paging("page", "per_page"),
            fixed: &[("sort", "-id")],
        },
        ApiPreset::Themesic => PresetDefaults {
            path: "/api/zapier/poll/",
            auth: auth("authtoken", ""),
            since: since(SinceFormat::Unix),
            paging: paging("", "limit"),
            fixed: &[],
        },
        ApiPreset::PerfexApi => PresetDefaults {
            path: "/api/v1/",
            auth: auth("x-api-key", ""),
            since: since(SinceFormat::None),
            paging: paging("page", "limit"),
            fixed: &[],
        },
        ApiPreset::Custom => PresetDefaults {
            path: "",
            auth: auth("authorization", "Bearer "),
            since: since(SinceFormat::Iso),
            paging: paging("page", "per_page"),
            fixed: &[],
        },
    }
}
