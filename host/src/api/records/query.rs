//! The query of a list of records, in the spellings of several dialects.

use super::condition::{FieldCondition, FieldTest};
use super::field_search::FieldSearch;
use super::fields_of;
use crate::api::problem::ApiProblem;
use crate::model::record::{RecordOrder, RecordPosition};
use crate::time::timestamp::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Default and largest number of records on a page. A larger number counts as the largest.
const PER_PAGE: (u32, u32) = (25, 100);
/// The largest offset of a page.
const FURTHEST: u32 = 1_000_000;
/// Largest number of conditions, fields and sort keys in one request.
const MOST: usize = 20;
/// Longest name of a field and longest value of a condition, in bytes.
const LONGEST: (usize, usize) = (64, 255);
/// Longest cursor in bytes. Ids and names of sources have their own bounds.
const LONGEST_CURSOR: usize = 4_096;
/// Parameters of the dialects that select additional data. They are ignored, because a record
/// always has all known data.
const IGNORED: [&str; 2] = ["include", "_"];

/// Names of PerfexAPI's parameters for fields with other names, by resource.
const OTHER_NAMES: [(&str, &str, &str); 6] = [
    ("estimate", "agent", "sale_agent"),
    ("estimate", "expiry_from", "expirydate_from"),
    ("estimate", "expiry_to", "expirydate_to"),
    ("note", "staff_id", "addedfrom"),
    ("payment", "invoice_id", "invoiceid"),
    ("payment", "payment_mode", "paymentmode"),
];

/// The parsed query.
#[derive(Debug)]
pub struct RecordQuery {
    pub since: Option<Timestamp>,
    pub source: Option<String>,
    pub page: u32,
    pub per_page: u32,
    /// The record after which the page begins.
    pub after: Option<RecordPosition>,
    pub sort: SortOrder,
    pub fields: Vec<String>,
    pub conditions: Vec<FieldCondition>,
    /// The text that a record must hold in one of its fields.
    pub search: Option<FieldSearch>,
}

/// The requested order.
#[derive(Debug, PartialEq, Eq)]
pub enum SortOrder {
    /// An order that the store supports.
    Native(RecordOrder),
    /// An order by fields, each with whether it descends.
    Fields(Vec<(String, bool)>),
}

impl SortOrder {
    /// Returns the order if the store supports it.
    pub const fn native(&self) -> Option<RecordOrder> {
        match self {
            Self::Native(order) => Some(*order),
            Self::Fields(_) => None,
        }
    }
}

impl RecordQuery {
    /// Parses the query of a URL.
    pub fn read(resource: &str, query: &str) -> Result<Self, ApiProblem> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query)
            .map_err(|error| ApiProblem::fault("query", error.to_string()))?;
        let mut read = Self {
            since: None,
            source: None,
            page: 1,
            per_page: PER_PAGE.0,
            after: None,
            sort: SortOrder::Native(RecordOrder::default()),
            fields: Vec::new(),
            conditions: Vec::new(),
            search: None,
        };
        for (name, value) in pairs {
            read.parameter(resource, &name, value)?;
        }
        if read.conditions.len() > MOST {
            return Err(ApiProblem::fault("filter", format!("at most {MOST} conditions")));
        }
        match &read.after {
            Some(after) if read.sort.native() != Some(after.order) => {
                return Err(ApiProblem::fault("cursor", "belongs to a list with another `sort`"));
            }
            None if read.offset() > FURTHEST => {
                return Err(ApiProblem::fault("page", "too far; continue with `meta.next_cursor`"));
            }
            Some(_) | None => {}
        }
        Ok(read)
    }

    /// Returns the fields by which records are compared.
    pub fn compared_fields(&self) -> Vec<&str> {
        let sorted: &[(String, bool)] = match &self.sort {
            SortOrder::Fields(fields) => fields,
            SortOrder::Native(_) => &[],
        };
        let sorted = sorted.iter().map(|(field, _)| field.as_str());
        sorted.chain(self.conditions.iter().map(|condition| condition.field.as_str())).collect()
    }

    /// Whether every record is wanted.
    pub fn is_unconditional(&self) -> bool {
        self.conditions.is_empty() && self.search.is_none()
    }

    /// Returns whether the search, if there is one, finds a record.
    pub fn is_found_in(&self, record: &str) -> bool {
        self.search.as_ref().is_none_or(|search| search.finds_in(record))
    }

    /// Returns the number of records before the page.
    pub fn offset(&self) -> u32 {
        self.page.saturating_sub(1).saturating_mul(self.per_page)
    }

    fn parameter(&mut self, resource: &str, name: &str, value: String) -> Result<(), ApiProblem> {
        match name {
            "since" => self.since = since(&value)?,
            "source" => self.source = Some(value),
            "page" => self.page = number("page", &value)?,
            "per_page" | "limit" => self.per_page = number(name, &value)?.min(PER_PAGE.1),
            "cursor" => self.after = Some(read_cursor(&value)?),
            "sort" => self.sort = sort(&value)?,
            "fields" => self.fields = names("fields", &value)?,
            "filter" => {
                for part in value.split(',').filter(|part| !part.is_empty()) {
                    let wrong =
                        || ApiProblem::fault("filter", "write FIELD:VALUE, such as status:2");
                    let (field, value) = part.split_once(':').ok_or_else(wrong)?;
                    self.conditions.push(condition("filter", field, FieldTest::Is, value)?);
                }
            }
            "search" => self.search = search(&value)?,
            _ if IGNORED.contains(&name) => {}
            // The choice "all" of a client.
            _ if value.is_empty() && !name.starts_with("filter[") => {
                named(resource, name, &value)?;
            }
            _ => self.conditions.push(named(resource, name, &value)?),
        }
        Ok(())
    }
}

/// Parses the text that is searched for. An empty text means all records.
fn search(value: &str) -> Result<Option<FieldSearch>, ApiProblem> {
    let value = value.trim();
    if value.len() > LONGEST.1 {
        return Err(ApiProblem::fault("search", format!("at most {} bytes", LONGEST.1)));
    }
    Ok((!value.is_empty()).then(|| FieldSearch::new(value)))
}

/// Parses a condition such as `filter[total.gte]`, `status`, `date_from` or `customer_id`.
fn named(resource: &str, name: &str, value: &str) -> Result<FieldCondition, ApiProblem> {
    let inner = name.strip_prefix("filter[").and_then(|rest| rest.strip_suffix(']'));
    if let Some(inner) = inner {
        let (field, test) = match inner.rsplit_once('.') {
            Some((field, word)) => {
                let known = FieldTest::named(word);
                let message = "the comparisons are eq, ne, gt, gte, lt and lte";
                (field, known.ok_or_else(|| ApiProblem::fault(name, message))?)
            }
            None => (inner, FieldTest::Is),
        };
        return condition(name, field, test, value);
    }
    let known = fields_of(resource);
    let other = OTHER_NAMES.iter().find(|(of, other, _)| *of == resource && *other == name);
    let name = other.map_or(name, |(_, _, field)| *field);
    let is_known = |field: &str| known.iter().any(|known| known == field);
    let range = [("_from", FieldTest::AtLeast), ("_to", FieldTest::AtMost)];
    let range = range.into_iter().find_map(|(end, test)| {
        let field = name.strip_suffix(end).filter(|field| is_known(field))?;
        Some((field, test))
    });
    let customer = ["clientid", "userid", "customer_id"].into_iter().find(|field| is_known(field));
    let (field, test) = match (range, customer) {
        _ if is_known(name) => (name, FieldTest::Is),
        (Some(range), _) => range,
        (None, Some(field)) if name == "customer_id" => (field, FieldTest::Is),
        (None, _) => {
            let message =
                format!("`{resource}` has no such field, and it is not another parameter");
            return Err(ApiProblem::fault(name, message));
        }
    };
    condition(name, field, test, value)
}

fn condition(
    path: &str,
    field: &str,
    test: FieldTest,
    value: &str,
) -> Result<FieldCondition, ApiProblem> {
    if !is_name(field) || value.len() > LONGEST.1 {
        return Err(ApiProblem::fault(
            path,
            "the name of a field, and a value of at most 255 bytes",
        ));
    }
    Ok(FieldCondition { field: field.to_owned(), test, value: value.to_owned() })
}

fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !text.is_empty() && text.len() <= LONGEST.0 && text.bytes().all(fits)
}

fn names(path: &str, value: &str) -> Result<Vec<String>, ApiProblem> {
    let names: Vec<String> = value
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    if names.len() > MOST || !names.iter().all(|name| is_name(name)) {
        let message = format!("at most {MOST} field names separated by commas");
        return Err(ApiProblem::fault(path, message));
    }
    Ok(names)
}

fn number(path: &str, value: &str) -> Result<u32, ApiProblem> {
    let number = value.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| ApiProblem::fault(path, "a number from 1"))
}

fn sort(value: &str) -> Result<SortOrder, ApiProblem> {
    let keys = value.split(',').map(str::trim).filter(|key| !key.is_empty());
    let keys: Vec<(String, bool)> = keys
        .map(|key| match key.strip_prefix('-') {
            Some(field) => (field.to_owned(), true),
            None => (key.strip_prefix('+').unwrap_or(key).to_owned(), false),
        })
        .collect();
    if keys.len() > MOST || !keys.iter().all(|(field, _)| is_name(field)) {
        return Err(ApiProblem::fault(
            "sort",
            "field names separated by commas, with `-` before descending ones",
        ));
    }
    Ok(match keys.as_slice() {
        [] => SortOrder::Native(RecordOrder::default()),
        [(field, true), ..] if field == "id" => SortOrder::Native(RecordOrder::IdDescending),
        [(field, false), ..] if field == "id" => SortOrder::Native(RecordOrder::Id),
        [(field, true)] if field == "updated_at" => SortOrder::Native(RecordOrder::Newest),
        [(field, false)] if field == "updated_at" => SortOrder::Native(RecordOrder::Oldest),
        _ => SortOrder::Fields(keys),
    })
}

/// Encodes a position for `meta.next_cursor`: JSON in base64url.
pub fn write_cursor(position: &RecordPosition) -> String {
    let json = serde_json::to_vec(position).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(json)
}

fn read_cursor(text: &str) -> Result<RecordPosition, ApiProblem> {
    let json = (text.len() <= LONGEST_CURSOR).then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten();
    json.and_then(|json| serde_json::from_slice(&json).ok())
        // No database stores U+0000 in a text.
        .filter(|position: &RecordPosition| {
            !position.resource_id.contains('\0') && !position.source.contains('\0')
        })
        .ok_or_else(|| ApiProblem::fault("cursor", "is not a cursor of this list"))
}

/// Parses a time in any spelling. An empty text means no bound.
fn since(value: &str) -> Result<Option<Timestamp>, ApiProblem> {
    if value.trim().is_empty() {
        return Ok(None);
    }
    let message = "a time such as `2026-04-25T00:00:00Z`, or Unix seconds";
    Timestamp::parse_query(value).map(Some).map_err(|_no_time| ApiProblem::fault("since", message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(query: &str) -> RecordQuery {
        RecordQuery::read("invoice", query).unwrap()
    }

    #[test]
    fn times_are_read_in_every_spelling() {
        let wanted = Timestamp::parse("2026-04-25T00:00:00Z").unwrap();
        for text in [
            "2026-04-25T00:00:00Z",
            "2026-04-25T02:00:00%2B02:00",
            "2026-04-25T02:00:00+02:00",
            "2026-04-25T00:00:00",
            "2026-04-25+00:00:00",
            "2026-04-25",
            "1777075200",
            "1777075200.0",
            "1777075200000",
        ] {
            assert_eq!(read(&format!("since={text}")).since, Some(wanted), "{text}");
        }
        assert_eq!(read("since=").since, None);
        assert!(RecordQuery::read("invoice", "since=yesterday").is_err());
    }

    #[test]
    fn conditions_are_read_in_every_spelling() {
        let conditions = |query| read(query).conditions;
        let is = |field: &str, test, value: &str| FieldCondition {
            field: field.to_owned(),
            test,
            value: value.to_owned(),
        };
        assert_eq!(
            conditions("filter=status:2,clientid:5"),
            [is("status", FieldTest::Is, "2"), is("clientid", FieldTest::Is, "5")]
        );
        assert_eq!(conditions("filter[total.gte]=1000"), [is("total", FieldTest::AtLeast, "1000")]);
        assert_eq!(conditions("filter%5Bstatus%5D=2"), [is("status", FieldTest::Is, "2")]);
        assert_eq!(
            conditions("status=2&date_from=2026-01-01"),
            [is("status", FieldTest::Is, "2"), is("date", FieldTest::AtLeast, "2026-01-01")]
        );
        assert_eq!(conditions("customer_id=5"), [is("clientid", FieldTest::Is, "5")]);
        assert_eq!(conditions("status=&date_from=&clientid=5"), conditions("clientid=5"));
        assert_eq!(conditions("filter[status]="), [is("status", FieldTest::Is, "")]);
        assert!(RecordQuery::read("invoice", "nothing=").is_err());
        for (resource, query, field) in [
            ("estimate", "agent=3", "sale_agent"),
            ("estimate", "expiry_to=2026-11-30", "expirydate"),
            ("note", "staff_id=3", "addedfrom"),
            ("payment", "invoice_id=17", "invoiceid"),
            ("payment", "payment_mode=1", "paymentmode"),
        ] {
            let read = RecordQuery::read(resource, query).unwrap();
            assert_eq!(read.conditions[0].field, field, "{query}");
        }
        for wrong in ["filter=status", "filter[total.like]=1", "nothing=1", "filter[a%20b]=1"] {
            assert!(RecordQuery::read("invoice", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pages_are_bounded() {
        assert_eq!((read("page=3&limit=10").offset(), read("per_page=500").per_page), (20, 100));
        for wrong in ["page=0", "page=-1", "limit=x", "page=4000000", "per_page=0"] {
            assert!(RecordQuery::read("invoice", wrong).is_err(), "{wrong}");
        }
        assert_eq!(read("sort=-id").sort, SortOrder::Native(RecordOrder::IdDescending));
        assert_eq!(
            read("sort=-total,id").sort,
            SortOrder::Fields(vec![("total".into(), true), ("id".into(), false)])
        );
    }

    #[test]
    fn cursors_come_back_as_they_were_given() {
        let position = RecordPosition {
            order: RecordOrder::Created,
            at: 1_777_075_200_000_000,
            ordinal: 17,
            resource_id: "17".to_owned(),
            source: "crm é".to_owned(),
        };
        let cursor = write_cursor(&position);
        let query = read(&format!("page=70000&per_page=100&cursor={cursor}"));
        assert_eq!(query.after, Some(position.clone()), "however far it is");
        let wrong = |query: &str| RecordQuery::read("invoice", query).is_err();
        assert!(wrong(&format!("sort=id&cursor={cursor}")), "the cursor belongs to another order");
        assert!(wrong("cursor=x") && wrong("cursor=") && wrong("cursor=e30"));
        let unstorable = RecordPosition { source: "\0".to_owned(), ..position };
        assert!(wrong(&format!("cursor={}", write_cursor(&unstorable))));
    }

    proptest! {
        #[test]
        fn nonsense_never_breaks_it(query in "[ -~]{0,120}") {
            drop(RecordQuery::read("invoice", &query));
        }
    }
}
