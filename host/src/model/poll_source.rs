//! Settings of a source that polls a REST API for new and changed rows.

pub mod polled_list;

pub use polled_list::ListSettings;

use super::private_values::mask_url;
use super::timing::SourceTiming;
use crate::model::fault::InputFault;
use crate::model::type_pattern::is_event_type;
use crate::net::http_url::read_http_url;
use crate::time::span::TimeSpan;
use crate::time::timestamp::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::time::Duration;

/// Default interval between two runs.
const EVERY: Duration = Duration::from_mins(1);
/// Default and longest overlap of a run with the one before.
const OVERLAP: (Duration, Duration) = (Duration::from_mins(10), Duration::from_hours(24 * 31));
/// Most lists of one source.
const MAX_LISTS: usize = 50;
/// The lists of Themesic's polling API.
const THEMESIC: [&str; 5] = ["customers", "invoices", "leads", "tasks", "tickets"];

/// A REST API that Waybill knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = Preset)]
pub enum ApiPreset {
    /// The Data Builder module: `/api/v1/{list}?since=…`.
    DataBuilder,
    /// The REST API module of Themesic: `/api/zapier/poll/{list}?since=…`.
    Themesic,
    /// PerfexAPI by OBS Technologies: `/api/v1/{list}`, without `since`.
    #[serde(rename = "perfexapi")]
    PerfexApi,
    /// Any other API. The settings describe it.
    #[default]
    Custom,
}

/// The time from which on rows become events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PollStart {
    /// From now on.
    #[default]
    Now,
    /// From this time on.
    At(Timestamp),
    /// From the beginning of this day on, in the source's time zone.
    On(Date),
}

impl PollStart {
    /// Returns the time, or `None` for now.
    pub fn instant(self, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Now => None,
            Self::At(time) => Some(time),
            Self::On(date) => {
                let midnight =
                    zone.to_ambiguous_timestamp(date.at(0, 0, 0, 0)).compatible().ok()?;
                Some(Timestamp::from_micros(midnight.as_microsecond()))
            }
        }
    }
}

impl Serialize for PollStart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Now => serializer.serialize_str("now"),
            Self::At(time) => time.serialize(serializer),
            Self::On(date) => serializer.collect_str(date),
        }
    }
}

impl<'de> Deserialize<'de> for PollStart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "now" {
            return Ok(Self::Now);
        }
        if let Ok(time) = Timestamp::parse(&text) {
            return Ok(Self::At(time));
        }
        // Accepts nothing but a date; the library would also find one in a longer text.
        let date = text.parse::<Date>().ok().filter(|_| text.len() == 10);
        date.map(Self::On).ok_or_else(|| {
            de::Error::custom(format!("`{text}` is neither `now` nor a date such as `2026-03-01`"))
        })
    }
}

/// Format of the `since` parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SinceFormat {
    /// A time in RFC 3339.
    #[default]
    Iso,
    /// Seconds since 1970.
    Unix,
    /// No parameter. Every run reads the whole list.
    None,
}

/// The header that authenticates Waybill to the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Auth)]
pub struct AuthHeader {
    /// The name of the header.
    pub header: String,
    /// The text before the secret in the header, such as `Bearer `.
    #[serde(default)]
    pub prefix: String,
}

/// The parameter that limits an answer to new and changed rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Since)]
pub struct SinceParameter {
    /// The name of the query parameter.
    #[serde(default = "since")]
    pub parameter: String,
    /// The format of its value.
    #[serde(default)]
    pub format: SinceFormat,
}

fn since() -> String {
    "since".to_owned()
}

/// The parameters by which the API divides long lists into pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Paging)]
pub struct PagingParameters {
    /// The parameter for the number of the page, counted from 1. Leave it empty for an API without
    /// pages; Waybill then requests longer and longer answers.
    #[serde(default = "page")]
    pub page: String,
    /// The parameter for the number of rows on a page. Leave it empty if the API has none.
    #[serde(default = "size")]
    pub size: String,
    /// The number of rows on a page, 1 to 10,000.
    #[serde(default = "rows")]
    pub rows: u32,
}

fn page() -> String {
    "page".to_owned()
}

fn size() -> String {
    "per_page".to_owned()
}

const fn rows() -> u32 {
    100
}

/// The settings of a source that polls a REST API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PollSettings {
    /// The API's vendor. `custom` is any API that the other settings describe.
    #[serde(default)]
    pub preset: ApiPreset,
    /// The address of the site, such as `https://crm.example.com`.
    pub url: String,
    /// The lists to poll: names such as `invoices`, or objects.
    pub lists: Vec<ListSettings>,
    /// Interval at which the lists are polled. If neither this nor `cron` is set, `1m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub every: Option<TimeSpan>,
    /// The times at which the lists are polled, instead of `every`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The time zone of `cron` and of times without one. If left out, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// `now`, or a date from which on existing rows become events.
    #[serde(default)]
    #[schema(value_type = String)]
    pub start: PollStart,
    /// Time by which a run goes back before the newest known row, to find rows that appear late. At
    /// most `31d`.
    #[serde(default = "overlap")]
    #[schema(value_type = String)]
    pub overlap: TimeSpan,
    /// The header with the secret. If left out, the preset's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthHeader>,
    /// Parameter that limits an answer to new rows. If left out, the preset's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<SinceParameter>,
    /// Paging of long lists. If left out, the preset's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paging: Option<PagingParameters>,
}

const fn overlap() -> TimeSpan {
    TimeSpan::new(OVERLAP.0)
}

impl PollSettings {
    /// Returns the name under which a list's rows, dead letters and messages are stored: its path
    /// without private values. If several paths look the same without them, the first list has this
    /// name and the others have digests in their names. So adding a list after another does not
    /// rename the first.
    pub fn list_name(&self, list: &ListSettings) -> String {
        let masked = mask_url(&list.path);
        let first = self.lists.iter().find(|one| mask_url(&one.path) == masked);
        if first.is_none_or(|first| first.path == list.path) { masked } else { list.own_name() }
    }

    /// Returns the faults of the settings.
    pub fn check(&self) -> Vec<InputFault> {
        let mut faults: Vec<InputFault> = self.timing().err().into_iter().collect();
        faults.extend(check_url(&self.url).err());
        if self.overlap.get() > OVERLAP.1 {
            faults.push(InputFault::new("overlap", "at most `31d`"));
        }
        if self.lists.is_empty() || self.lists.len() > MAX_LISTS {
            let message = format!("must have 1 to {MAX_LISTS} lists, such as `invoices`");
            faults.push(InputFault::new("lists", message));
        }
        for (n, list) in self.lists.iter().enumerate() {
            let found = self.check_list(n, list);
            faults.extend(found.into_iter().map(|fault| fault.within(&format!("lists[{n}]"))));
        }
        faults.extend(self.check_custom());
        faults
    }

    fn check_list(&self, n: usize, list: &ListSettings) -> Vec<InputFault> {
        let mut faults = Vec::new();
        let is_path =
            list.path.starts_with('/') && read_http_url(&format!("http://x{}", list.path)).is_ok();
        let is_name = !list.path.is_empty()
            && list.path.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        let message = match self.preset {
            ApiPreset::Custom => (!is_path).then(|| "must be a path such as `/orders`".to_owned()),
            ApiPreset::Themesic if !THEMESIC.contains(&list.path.as_str()) => Some(format!(
                "Themesic's API does not have this list; it has {}",
                THEMESIC.join(", ")
            )),
            ApiPreset::DataBuilder | ApiPreset::PerfexApi | ApiPreset::Themesic => {
                (!is_name).then(|| "must be a name such as `invoices`".to_owned())
            }
        };
        faults.extend(message.map(|message| InputFault::new("path", message)));
        let named = list.resource.as_deref().unwrap_or_else(|| list.name());
        if !is_event_type(&format!("{named}.created")) {
            let message =
                "write the kind of record in letters, digits, `_` and `-`, such as `order`";
            faults.push(InputFault::new("resource", message));
        }
        if self.lists.iter().take(n).any(|other| other.path == list.path) {
            faults.push(InputFault::new("path", "this list is named twice"));
        }
        for (field, event_type) in [("created", &list.created), ("updated", &list.updated)] {
            if event_type.as_ref().is_some_and(|name| !is_event_type(name)) {
                faults
                    .push(InputFault::new(field, "must be an event type such as `order.created`"));
            }
        }
        if list.rows.as_ref().is_some_and(|rows| !rows.is_empty() && !rows.starts_with('/')) {
            faults.push(InputFault::new("rows", "must be a JSON pointer such as `/data`"));
        }
        faults
    }

    fn check_custom(&self) -> Vec<InputFault> {
        let mut faults = Vec::new();
        if let Some(auth) = &self.auth
            && (auth.header.parse::<http::HeaderName>().is_err()
                || auth.prefix.parse::<http::HeaderValue>().is_err())
        {
            faults.push(InputFault::new(
                "auth.header",
                "must be the name of a header, such as `Authorization`",
            ));
        }
        let parameter = |name: &str| name.len() <= 100 && !name.contains(['&', '=', '#', ' ']);
        if self.since.as_ref().is_some_and(|s| s.parameter.is_empty() || !parameter(&s.parameter)) {
            faults.push(InputFault::new(
                "since.parameter",
                "must be the name of a parameter, such as `since`",
            ));
        }
        if let Some(paging) = &self.paging {
            if !parameter(&paging.page) || !parameter(&paging.size) {
                faults.push(InputFault::new(
                    "paging",
                    "must be names of parameters, such as `page` and `per_page`",
                ));
            }
            if paging.rows == 0 || paging.rows > 10_000 {
                faults.push(InputFault::new("paging.rows", "must be 1 to 10000 rows"));
            }
        }
        faults
    }

    /// Returns when the source runs.
    pub fn timing(&self) -> Result<SourceTiming, InputFault> {
        SourceTiming::read(self.every, self.cron.as_deref(), self.time_zone.as_deref(), EVERY)
    }
}

fn check_url(url: &str) -> Result<(), InputFault> {
    let uri = read_http_url(url).map_err(|why| InputFault::new("url", why))?;
    let message = "must be an address such as `https://crm.example.com`, without a query";
    if uri.query().is_none() { Ok(()) } else { Err(InputFault::new("url", message)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn faults(settings: Value) -> Vec<String> {
        let settings: PollSettings = serde_json::from_value(settings).unwrap();
        settings.check().into_iter().map(|fault| fault.path).collect()
    }

    #[test]
    fn a_list_is_a_name_or_an_object() {
        let lists = json!(["invoices", {"path": "customers", "timestamp": "datecreated"}]);
        let settings =
            json!({"preset": "data-builder", "url": "https://crm.example.com", "lists": lists});
        assert_eq!(faults(settings), [""; 0]);
        let wrong = json!({"url": "https://x", "lists": [{"path": "/a", "kye": "id"}]});
        let error = serde_json::from_value::<PollSettings>(wrong).unwrap_err();
        assert!(error.to_string().contains("kye"), "{error}");
    }

    #[test]
    fn faults_name_their_place() {
        let wrong = json!({"url": "ftp://x", "lists": ["orders"], "every": "10ms",
            "paging": {"page": "p", "size": "n", "rows": 0}, "time_zone": "Mars/Base"});
        assert_eq!(faults(wrong), ["time_zone", "url", "lists[0].path", "paging.rows"]);
        let wrong = json!({"preset": "themesic", "url": "https://x", "lists": ["payments"],
            "every": "1m", "cron": "* * * * *"});
        assert_eq!(faults(wrong), ["cron", "lists[0].path"]);
        assert_eq!(faults(json!({"url": "https://u:p@x", "lists": ["/a"]})), ["url"]);
    }

    #[test]
    fn it_starts_now_or_at_a_date() {
        let start = |text: &str| serde_json::from_value::<PollStart>(json!(text));
        assert_eq!(start("now").unwrap(), PollStart::Now);
        let begin = Timestamp::parse("2026-02-28T22:00:00Z").unwrap();
        let athens = TimeZone::get("Europe/Athens").unwrap();
        assert_eq!(start("2026-03-01").unwrap().instant(&athens), Some(begin));
        assert_eq!(start("2026-02-28T22:00:00Z").unwrap(), PollStart::At(begin));
        assert!(start("2026-02-30").is_err());
        assert!(start("yesterday").unwrap_err().to_string().contains("neither"));
    }

    #[test]
    fn the_name_of_a_list_shows_no_private_value() {
        let name = |paths: &[&str], n: usize| {
            let settings: PollSettings = serde_json::from_value(serde_json::json!({
                "preset": "custom", "url": "https://erp.example", "lists": paths,
            }))
            .unwrap();
            settings.list_name(&settings.lists[n])
        };
        assert_eq!(name(&["/orders"], 0), "/orders");
        assert_eq!(name(&["/orders?key=s3cret", "/orders"], 0), "/orders?key=***");
        let paths = ["/orders?state=open", "/orders?state=closed"];
        let (open, closed) = (name(&paths, 0), name(&paths, 1));
        assert_eq!(open, name(&paths[..1], 0), "a list that is added behind it changes nothing");
        assert!(closed.starts_with("/orders?state=***#"), "{closed}");
    }
}
