//! Scopes: what a token may do, and which scope each route needs.
//!
//! Access is denied by default: a call of a route that [`route_need`] does not name is refused for
//! every token.

use http::Method;
use serde::{Deserialize, Serialize};

/// A permission of a token. `write` includes `read` of the same objects. `admin` includes
/// everything.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
pub enum Scope {
    /// Everything, including tokens.
    #[serde(rename = "admin")]
    Admin,
    /// Capture events.
    #[serde(rename = "events:write")]
    EventsWrite,
    /// Read events and their traces.
    #[serde(rename = "events:read")]
    EventsRead,
    /// Plan events again.
    #[serde(rename = "events:replay")]
    EventsReplay,
    /// Read the catalogue and the records of the CRM.
    #[serde(rename = "records:read")]
    RecordsRead,
    /// Change endpoints.
    #[serde(rename = "endpoints:write")]
    EndpointsWrite,
    /// Read the settings of endpoints.
    #[serde(rename = "endpoints:read")]
    EndpointsRead,
    /// Change flows.
    #[serde(rename = "flows:write")]
    FlowsWrite,
    /// Read the settings of flows.
    #[serde(rename = "flows:read")]
    FlowsRead,
    /// Change sources.
    #[serde(rename = "sources:write")]
    SourcesWrite,
    /// Read the settings of sources.
    #[serde(rename = "sources:read")]
    SourcesRead,
    /// Upload, activate and try modules.
    #[serde(rename = "modules:write")]
    ModulesWrite,
    /// Read modules and their versions.
    #[serde(rename = "modules:read")]
    ModulesRead,
    /// Send deliveries and dead letters again, cancel and delete them.
    #[serde(rename = "deliveries:replay")]
    DeliveriesReplay,
    /// Read deliveries and dead letters.
    #[serde(rename = "deliveries:read")]
    DeliveriesRead,
    /// Read the audit of calls.
    #[serde(rename = "audit:read")]
    AuditRead,
    /// Read the list of running nodes.
    #[serde(rename = "nodes:read")]
    NodesRead,
    /// Acknowledge and silence alerts.
    #[serde(rename = "alerts:write")]
    AlertsWrite,
    /// Read alerts.
    #[serde(rename = "alerts:read")]
    AlertsRead,
    /// Read metrics, if `metrics.require_token` is set.
    #[serde(rename = "metrics:read")]
    MetricsRead,
    /// Run operations of endpoints. An operation may do anything that its API permits.
    #[serde(rename = "operations:run")]
    OperationsRun,
    /// Fetching and committing the deliveries of endpoints of kind `pull`.
    #[serde(rename = "deliveries:pull")]
    DeliveriesPull,
}

/// Every scope with its name. Append new scopes at the end, because short-lived tokens store a
/// scope by its position.
pub const SCOPES: [(Scope, &str); 22] = [
    (Scope::Admin, "admin"),
    (Scope::EventsWrite, "events:write"),
    (Scope::EventsRead, "events:read"),
    (Scope::EventsReplay, "events:replay"),
    (Scope::RecordsRead, "records:read"),
    (Scope::EndpointsWrite, "endpoints:write"),
    (Scope::EndpointsRead, "endpoints:read"),
    (Scope::FlowsWrite, "flows:write"),
    (Scope::FlowsRead, "flows:read"),
    (Scope::SourcesWrite, "sources:write"),
    (Scope::SourcesRead, "sources:read"),
    (Scope::ModulesWrite, "modules:write"),
    (Scope::ModulesRead, "modules:read"),
    (Scope::DeliveriesReplay, "deliveries:replay"),
    (Scope::DeliveriesRead, "deliveries:read"),
    (Scope::AuditRead, "audit:read"),
    (Scope::NodesRead, "nodes:read"),
    (Scope::AlertsWrite, "alerts:write"),
    (Scope::AlertsRead, "alerts:read"),
    (Scope::MetricsRead, "metrics:read"),
    (Scope::OperationsRun, "operations:run"),
    (Scope::DeliveriesPull, "deliveries:pull"),
];

/// A preset that [`Scope::named`] accepts beside single scopes: all reading except the audit.
pub const READ_ONLY: &str = "read-only";

impl Scope {
    /// Returns the name of the scope, such as `events:read`.
    pub fn name(self) -> &'static str {
        SCOPES.iter().find(|(scope, _)| *scope == self).map_or("", |(_, name)| name)
    }

    /// Returns the scopes for a name: a single scope, or those of the preset [`READ_ONLY`]. Empty
    /// if the name is unknown.
    pub fn named(name: &str) -> Vec<Self> {
        if name == READ_ONLY {
            let reads = |scope: &Self| scope.only_reads() && *scope != Self::AuditRead;
            return SCOPES.iter().map(|(scope, _)| *scope).filter(reads).collect();
        }
        SCOPES.iter().filter(|(_, known)| *known == name).map(|(scope, _)| *scope).collect()
    }

    /// Whether the scope only permits reading.
    pub fn only_reads(self) -> bool {
        self.name().ends_with(":read")
    }

    /// Whether a token with this scope may do what `wanted` permits.
    pub fn holds(self, wanted: Self) -> bool {
        self == Self::Admin || self == wanted || self.reads() == Some(wanted)
    }

    /// Returns the read scope that a write scope includes. Capturing includes none, because a
    /// source need not see other events.
    const fn reads(self) -> Option<Self> {
        match self {
            Self::EndpointsWrite => Some(Self::EndpointsRead),
            Self::FlowsWrite => Some(Self::FlowsRead),
            Self::SourcesWrite => Some(Self::SourcesRead),
            Self::ModulesWrite => Some(Self::ModulesRead),
            Self::DeliveriesReplay => Some(Self::DeliveriesRead),
            Self::EventsReplay => Some(Self::EventsRead),
            Self::AlertsWrite => Some(Self::AlertsRead),
            Self::Admin
            | Self::EventsWrite
            | Self::EventsRead
            | Self::RecordsRead
            | Self::EndpointsRead
            | Self::FlowsRead
            | Self::SourcesRead
            | Self::ModulesRead
            | Self::DeliveriesRead
            | Self::AuditRead
            | Self::NodesRead
            | Self::AlertsRead
            | Self::MetricsRead
            | Self::OperationsRun
            | Self::DeliveriesPull => None,
        }
    }

    /// Returns the scope as a bit, by its position in [`SCOPES`].
    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// A set of scopes, as a bit mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScopeSet(u32);

impl ScopeSet {
    /// Makes a set from names. Unknown names are ignored.
    pub fn named<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        Self(names.into_iter().flat_map(Scope::named).fold(0, |bits, scope| bits | scope.bit()))
    }

    /// Makes a set from the bits that [`ScopeSet::bits`] returned.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Returns the set as a bit mask: one bit for each scope, by its position in [`SCOPES`].
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Returns the scopes in the order of [`SCOPES`], without those that they include.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        SCOPES.iter().map(|(scope, _)| *scope).filter(move |scope| self.0 & scope.bit() != 0)
    }

    /// Returns the names of the scopes.
    pub fn names(self) -> Vec<String> {
        self.iter().map(|scope| scope.name().to_owned()).collect()
    }

    /// Whether one of the scopes includes `wanted`.
    pub fn allows_scope(self, wanted: Scope) -> bool {
        self.0 & (wanted.bit() | Scope::Admin.bit()) != 0
            || self.iter().any(|scope| scope.holds(wanted))
    }

    /// Whether this set permits everything that `others` permits.
    pub fn covers_all(self, others: Self) -> bool {
        others.iter().all(|scope| self.allows_scope(scope))
    }

    /// Returns the scopes of each set that the other set includes.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        let held = Self(self.0 | other.0).iter();
        let held = held.filter(|scope| self.allows_scope(*scope) && other.allows_scope(*scope));
        Self(held.fold(0, |bits, scope| bits | scope.bit()))
    }

    /// Whether all scopes in the set only permit reading.
    pub fn only_read(self) -> bool {
        self.iter().all(Scope::only_reads)
    }
}

/// The credential that a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteNeed {
    /// The signature of the source that the call is for. The handler checks it.
    Signature,
    /// A token's id and the token itself, sent in one of the ways of OAuth 2.0. The handler checks
    /// them.
    Client,
    /// Any known token.
    Token,
    /// A token with this scope.
    Scope(Scope),
    /// A token with this scope and no limit on tables or sources, because the answer could contain
    /// any table, or because the setting could send out any table.
    AllTables(Scope),
}

impl RouteNeed {
    /// Returns the scope that is needed, if any.
    pub const fn scope(self) -> Option<Scope> {
        match self {
            Self::Signature | Self::Client | Self::Token => None,
            Self::Scope(scope) | Self::AllTables(scope) => Some(scope),
        }
    }
}

/// The route at which assistants call tools by the Model Context Protocol.
pub const TOOLS_ROUTE: &str = "/mcp";

/// Whether calls of a route are guarded and recorded in the audit.
pub fn is_guarded(route: &str) -> bool {
    route == TOOLS_ROUTE || ["/api/", "/oauth/", "/in/"].iter().any(|part| route.starts_with(part))
}

/// Returns what a call of a guarded route needs, or `None` if nobody may make the call.
pub fn route_need(method: &Method, route: &str) -> Option<RouteNeed> {
    if route.starts_with("/oauth/") {
        return Some(RouteNeed::Client);
    }
    if route.starts_with("/in/") {
        return Some(RouteNeed::Signature);
    }
    let reads = method == Method::GET || method == Method::HEAD;
    // The handler guards this route itself, if the configuration requires a token.
    if route == "/metrics" && reads {
        return Some(RouteNeed::Scope(Scope::MetricsRead));
    }
    // Each tool asks for the needs of the routes that it calls.
    if route == TOOLS_ROUTE && *method == Method::POST {
        return Some(RouteNeed::Token);
    }
    let mut parts = route.strip_prefix("/api/v1/")?.splitn(2, '/');
    let (resource, rest) = (parts.next()?, parts.next());
    // A limited token must not get all deliveries or make other tokens, so these routes need a
    // token without limits.
    let read_or_write = |read, write| {
        Some(if reads { RouteNeed::Scope(read) } else { RouteNeed::AllTables(write) })
    };
    match (resource, rest) {
        ("auth", Some("test")) if reads => Some(RouteNeed::Token),
        ("events", None) if *method == Method::POST => Some(RouteNeed::Scope(Scope::EventsWrite)),
        ("events", _) if reads => Some(RouteNeed::Scope(Scope::EventsRead)),
        ("events", Some(_)) => Some(RouteNeed::AllTables(Scope::EventsReplay)),
        ("event-types", _) | ("{resource}", None | Some("{id}" | "{id}/{part}")) if reads => {
            Some(RouteNeed::Scope(Scope::RecordsRead))
        }
        // The call goes to one table of a CRM.
        ("{resource}", None | Some("{id}" | "{id}/{part}" | "{id}/{part}/{part_id}")) => {
            Some(RouteNeed::Scope(Scope::OperationsRun))
        }
        ("channels", None) if reads => Some(RouteNeed::Scope(Scope::EndpointsRead)),
        ("endpoints", Some("{id}/operations/{name}")) if *method == Method::POST => {
            Some(RouteNeed::AllTables(Scope::OperationsRun))
        }
        ("endpoints" | "webhooks", _) => read_or_write(Scope::EndpointsRead, Scope::EndpointsWrite),
        // A dry run changes nothing, but it runs modules, so it needs the scope for modules.
        ("flows", Some("{id}/run")) if *method == Method::POST => {
            Some(RouteNeed::AllTables(Scope::ModulesWrite))
        }
        ("flows", _) => read_or_write(Scope::FlowsRead, Scope::FlowsWrite),
        ("sources", _) => read_or_write(Scope::SourcesRead, Scope::SourcesWrite),
        // The operator decides where a secret goes, not the author of a module.
        ("secrets", _) => read_or_write(Scope::ModulesRead, Scope::Admin),
        // The lines of a module, and the examples of a trial, may quote any event.
        ("modules", Some("{name}/logs" | "{name}/trial")) if reads => {
            Some(RouteNeed::AllTables(Scope::ModulesRead))
        }
        ("modules", _) => read_or_write(Scope::ModulesRead, Scope::ModulesWrite),
        ("deliveries" | "dead-letters" | "completeness", _) => {
            let scope = if reads { Scope::DeliveriesRead } else { Scope::DeliveriesReplay };
            Some(RouteNeed::AllTables(scope))
        }
        // An endpoint may get deliveries of any table.
        ("pull", _) => Some(RouteNeed::AllTables(Scope::DeliveriesPull)),
        ("audit", _) if reads => Some(RouteNeed::AllTables(Scope::AuditRead)),
        ("alerts", _) => {
            let scope = if reads { Scope::AlertsRead } else { Scope::AlertsWrite };
            Some(RouteNeed::AllTables(scope))
        }
        ("nodes", None) if reads => Some(RouteNeed::Scope(Scope::NodesRead)),
        ("config" | "records" | "tokens", _) => Some(RouteNeed::AllTables(Scope::Admin)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_serde_agree() {
        for (scope, name) in SCOPES {
            assert_eq!(serde_json::to_value(scope).unwrap(), name);
            assert_eq!(Scope::named(name), [scope]);
            assert_eq!(scope.name(), name);
        }
        assert!(Scope::named("events:eat").is_empty());
    }

    #[test]
    fn read_only_changes_nothing() {
        for scope in Scope::named(READ_ONLY) {
            for (other, _) in SCOPES {
                assert!(scope == other || !scope.holds(other), "{scope:?} holds {other:?}");
            }
        }
    }

    #[test]
    fn write_includes_read_and_admin_includes_everything() {
        assert!(Scope::EndpointsWrite.holds(Scope::EndpointsRead));
        assert!(!Scope::EndpointsRead.holds(Scope::EndpointsWrite));
        assert!(!Scope::EventsWrite.holds(Scope::EventsRead));
        assert!(SCOPES.iter().all(|(scope, _)| Scope::Admin.holds(*scope)));
    }

    #[test]
    fn a_set_permits_what_its_scopes_include() {
        let set = ScopeSet::named(["endpoints:write", "deliveries:read"]);
        assert!(set.allows_scope(Scope::EndpointsRead) && !set.allows_scope(Scope::FlowsRead));
        assert!(set.covers_all(ScopeSet::named(["endpoints:read"])));
        assert!(!set.covers_all(ScopeSet::named(["endpoints:read", "admin"])));
        assert_eq!(set.names(), ["endpoints:write", "deliveries:read"]);
        assert!(!set.only_read() && ScopeSet::named([READ_ONLY]).only_read());
        for (place, (scope, name)) in SCOPES.iter().enumerate() {
            assert_eq!(scope.bit(), 1 << place, "{name} is not in its place");
        }
    }

    #[test]
    fn an_intersection_permits_what_both_sets_permit() {
        let both = |one: &[&str], other: &[&str]| {
            let set = |names: &[&str]| ScopeSet::named(names.iter().copied());
            set(one).intersect(set(other)).names()
        };
        assert_eq!(both(&["admin"], &["flows:write"]), ["flows:write"]);
        assert_eq!(both(&["flows:write"], &["flows:read"]), ["flows:read"]);
        let replay = ["events:read", "events:replay"];
        assert_eq!(both(&["events:replay"], &["events:read", "admin"]), replay);
        assert!(both(&["events:write"], &["events:read"]).is_empty());
        for (one, _) in SCOPES {
            for (other, _) in SCOPES {
                let (a, b) = (ScopeSet(one.bit()), ScopeSet(other.bit()));
                for (wanted, name) in SCOPES {
                    let expected = a.allows_scope(wanted) && b.allows_scope(wanted);
                    assert_eq!(
                        a.intersect(b).allows_scope(wanted),
                        expected,
                        "{one:?} {other:?} {name}"
                    );
                }
            }
        }
    }

    #[test]
    fn routes_without_a_need_are_denied() {
        assert_eq!(route_need(&Method::GET, "/api/v1/reports"), None);
        assert_eq!(route_need(&Method::DELETE, "/api/v1/event-types/{name}"), None);
        assert_eq!(route_need(&Method::POST, "/metrics"), None);
        assert_eq!(route_need(&Method::GET, TOOLS_ROUTE), None);
        assert_eq!(route_need(&Method::GET, "/healthz"), None);
    }
}
