//! The map of how events travel: sources, flows and endpoints, with lines between them.

use super::OverviewData;
use crate::admin::call::PageCall;
use crate::admin::signs::{StateSign, StateTone};
use crate::admin::texts::tell_number;
use crate::admin::{endpoint_address, flow_address, source_address};
use crate::settings::SettingsSnapshot;
use maud::{Markup, html};

/// Most nodes in a column. If there are more, those that are not well come first.
const MOST_NODES: usize = 12;
/// Height of a node and the gap below it, in pixels.
const NODE: usize = 68;

/// A source, a flow or an endpoint.
struct MapNode {
    name: String,
    address: Option<String>,
    sign: StateSign,
    note: String,
    /// Names of the connected nodes in the next column.
    leads_to: Vec<String>,
}

impl MapNode {
    const fn is_unwell(&self) -> bool {
        matches!(self.sign.tone, StateTone::Bad | StateTone::Warn)
    }
}

/// The shown part of a column.
struct MapColumn {
    title: &'static str,
    nodes: Vec<MapNode>,
    hidden: usize,
}

impl MapColumn {
    fn new(title: &'static str, mut nodes: Vec<MapNode>) -> Self {
        nodes.sort_by(|a, b| (!a.is_unwell(), &a.name).cmp(&(!b.is_unwell(), &b.name)));
        let hidden = nodes.len().saturating_sub(MOST_NODES);
        nodes.truncate(MOST_NODES);
        Self { title, nodes, hidden }
    }
}

/// The node for endpoints that select events themselves, without a flow.
const DIRECT: &str = "without a flow";

/// Draws the map, if the token may read sources, flows and endpoints.
pub fn draw_map(call: &PageCall, data: &OverviewData) -> Markup {
    let routes = ["/api/v1/sources", "/api/v1/flows", "/api/v1/endpoints"];
    let settings = call.settings();
    let has_any = settings.endpoints().next().is_some();
    if !has_any || !routes.into_iter().all(|route| call.may_read(route)) {
        return html! {};
    }
    let endpoints = endpoint_nodes(call, &settings, data);
    let flows = flow_nodes(&settings, &endpoints);
    let sources = source_nodes(data, &settings);
    let columns = [
        MapColumn::new("Sources", sources),
        MapColumn::new("Flows", flows),
        MapColumn::new("Endpoints", endpoints),
    ];
    let height = columns.iter().map(|column| column.nodes.len()).max().unwrap_or(1).max(1);
    let [sources, flows, endpoints] = &columns;
    html! {
        section class="panel" aria-labelledby="map" {
            header {
                h2 id="map" { "How events travel" }
                div class="key" {
                    span { "solid line: well" }
                    span { "dotted: wants a look" }
                    span { "dashed: failing" }
                }
            }
            div class="map" {
                (draw_column(sources))
                (draw_lines(sources, flows, height))
                (draw_column(flows))
                (draw_lines(flows, endpoints, height))
                (draw_column(endpoints))
            }
        }
    }
}

fn endpoint_nodes(
    call: &PageCall,
    settings: &SettingsSnapshot,
    data: &OverviewData,
) -> Vec<MapNode> {
    let node = |target: &std::sync::Arc<crate::settings::endpoint_runtime::EndpointRuntime>| {
        let name = &target.endpoint.settings.name;
        let (sign, note) = data.report.judge(target, call.now);
        MapNode {
            name: name.clone(),
            address: Some(endpoint_address(name)),
            sign,
            note,
            leads_to: Vec::new(),
        }
    };
    settings.endpoints().map(node).collect()
}

fn flow_nodes(settings: &SettingsSnapshot, endpoints: &[MapNode]) -> Vec<MapNode> {
    let mut nodes: Vec<MapNode> = settings
        .flows()
        .iter()
        .map(|route| {
            let flow = &route.flow.settings;
            let modules: Vec<&str> =
                flow.modules.iter().map(|module| module.name.as_str()).collect();
            let note =
                if modules.is_empty() { "no modules".to_owned() } else { modules.join(" → ") };
            let sign = flow_sign(flow.enabled, route.locked, &flow.endpoints, endpoints);
            let leads_to = flow.endpoints.clone();
            MapNode {
                name: flow.name.clone(),
                address: Some(flow_address(&flow.name)),
                sign,
                note,
                leads_to,
            }
        })
        .collect();
    let direct = settings.endpoints().filter(|target| !target.endpoint.settings.events.is_empty());
    let leads_to: Vec<String> =
        direct.map(|target| target.endpoint.settings.name.clone()).collect();
    if !leads_to.is_empty() {
        let note = "endpoints' own events".to_owned();
        let sign = flow_sign(true, false, &leads_to, endpoints);
        nodes.push(MapNode { name: DIRECT.to_owned(), address: None, sign, note, leads_to });
    }
    nodes
}

/// Returns the sign of a flow, from the state of its endpoints.
fn flow_sign(enabled: bool, locked: bool, leads_to: &[String], endpoints: &[MapNode]) -> StateSign {
    let own = endpoints.iter().filter(|node| leads_to.contains(&node.name));
    let tones: Vec<StateTone> = own.map(|node| node.sign.tone).collect();
    if locked {
        StateSign::LOCKED
    } else if !enabled {
        StateSign::PAUSED
    } else if !tones.is_empty() && tones.iter().all(|tone| *tone == StateTone::Bad) {
        StateSign { word: "Held", ..StateSign::FAILING }
    } else if tones.iter().any(|tone| matches!(tone, StateTone::Bad | StateTone::Warn)) {
        StateSign { word: "Partly held", ..StateSign::WARNING }
    } else {
        StateSign::WELL
    }
}

fn source_nodes(data: &OverviewData, settings: &SettingsSnapshot) -> Vec<MapNode> {
    let takes_all =
        |sources: &[String], name: &str| sources.is_empty() || sources.iter().any(|s| s == name);
    let has_direct = settings.endpoints().any(|target| !target.endpoint.settings.events.is_empty());
    let node = |source: &crate::admin::sources::ShownSource| {
        let (sign, why) = source.judge();
        let flows = settings.flows().iter().map(|route| &route.flow.settings);
        let mut leads_to: Vec<String> = flows
            .filter(|flow| takes_all(&flow.sources, &source.name))
            .map(|flow| flow.name.clone())
            .collect();
        leads_to.extend(has_direct.then(|| DIRECT.to_owned()));
        let note = if why.is_empty() {
            format!("{}, {}", source.kind, tell_number(source.captured(), "event", "events"))
        } else {
            why
        };
        MapNode {
            name: source.name.clone(),
            address: Some(source_address(&source.name)),
            sign,
            note,
            leads_to,
        }
    };
    data.sources.iter().map(node).collect()
}

fn draw_column(column: &MapColumn) -> Markup {
    html! {
        div class="col" {
            h3 { (column.title) }
            ul {
                @for node in &column.nodes { li { (draw_node(node)) } }
                @if column.nodes.is_empty() { li class="hint" { "none is set" } }
            }
            @if column.hidden > 0 { p class="hint" { (column.hidden) " more" } }
        }
    }
}

fn draw_node(node: &MapNode) -> Markup {
    let class = if node.is_unwell() {
        format!("node {}", node.sign.tone.class())
    } else {
        "node".to_owned()
    };
    let content = html! {
        span class="h" { span class="cut" { (node.name) } (node.sign.draw()) }
        span class="m" title=(node.note) { (node.note) }
        @if !node.leads_to.is_empty() { span class="to" { "→ " (node.leads_to.join(", ")) } }
    };
    html! {
        @match &node.address {
            Some(address) => a class=(class) href=(address) { (content) },
            None => div class=(class) { (content) },
        }
    }
}

/// Returns the vertical middle of a node. Each column is centred in the height of the tallest one.
fn middle(n: usize, nodes: usize, tallest: usize) -> usize {
    (tallest - nodes) * NODE / 2 + 28 + NODE * n
}

fn draw_lines(from: &MapColumn, to: &MapColumn, tallest: usize) -> Markup {
    let height = NODE * tallest - 12;
    let mut lines = Vec::new();
    for (n, node) in from.nodes.iter().enumerate() {
        for name in &node.leads_to {
            let Some(m) = to.nodes.iter().position(|target| target.name == *name) else { continue };
            let tone = to.nodes.get(m).map(|target| target.sign.tone);
            let class = match tone {
                Some(StateTone::Bad) => "bad",
                Some(StateTone::Warn) => "warn",
                Some(StateTone::Ok | StateTone::Run | StateTone::Idle) | None => "",
            };
            let (y, z) = (middle(n, from.nodes.len(), tallest), middle(m, to.nodes.len(), tallest));
            lines.push((class, format!("M0 {y}C50 {y} 50 {z} 100 {z}")));
        }
    }
    html! {
        svg class={ "lines n" (tallest) } viewBox={ "0 0 100 " (height) }
            preserveAspectRatio="none" aria-hidden="true" {
            @for (class, path) in &lines { path class=(class) d=(path) {} }
        }
    }
}
