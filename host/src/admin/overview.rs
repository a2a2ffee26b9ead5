//! The first page: what needs attention now, whether today is an ordinary day, and what is affected
//! by a failure. A token sees only the parts that it may also read through the REST API.

pub mod attention;
pub mod chart;
pub mod figures;
pub mod map;
pub mod tiles;

use super::alerts::ALERTS;
use super::call::{PageCall, PageContent, PageProblem, PageResult, PageSection};
use super::dead_letters::causes::load_causes;
use super::endpoints::health::HealthReport;
use super::filters::SPANS;
use super::sources::{ShownSource, load_sources};
use super::texts::draw_clock;
use crate::api::alerts::{AlertQuery, AlertView, list_alerts};
use crate::api::body::QueryInput;
use crate::model::alert::AlertState;
use crate::store::DeathCause;
use attention::{draw_attention, list_attention};
use axum::Json;
use figures::SpanFigures;
use http::Uri;
use maud::html;
use serde::Deserialize;

/// The time span if none is chosen.
const USUAL_SPAN: &str = "24h";

/// The time span of the figures.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct OverviewPage {
    span: Option<String>,
}

/// The data of the page.
pub struct OverviewData {
    pub report: HealthReport,
    pub causes: Vec<DeathCause>,
    pub sources: Vec<ShownSource>,
    pub figures: Option<SpanFigures>,
    /// Firing alerts.
    pub alerts: Vec<AlertView>,
}

async fn load_data(call: &PageCall, span: (&str, u64)) -> Result<OverviewData, PageProblem> {
    let sees_deliveries = call.may_read("/api/v1/deliveries");
    let figures = if sees_deliveries { Some(SpanFigures::load(call, span.1).await?) } else { None };
    let report = match &figures {
        Some(figures) => HealthReport::load_with(call, &figures.deliveries).await?,
        None => HealthReport::default(),
    };
    let sees_letters = call.may_read("/api/v1/dead-letters");
    let causes = if sees_letters { load_causes(call).await? } else { Vec::new() };
    let sees_sources = call.may_read("/api/v1/sources");
    let sources = if sees_sources { load_sources(call).await? } else { Vec::new() };
    let alerts = load_firing(call).await?;
    Ok(OverviewData { report, causes, sources, figures, alerts })
}

async fn load_firing(call: &PageCall) -> Result<Vec<AlertView>, PageProblem> {
    if !call.may_read("/api/v1/alerts") {
        return Ok(Vec::new());
    }
    let query = QueryInput(AlertQuery::in_state(Some(AlertState::Firing)));
    let here = Uri::from_static(ALERTS);
    let Json(found) = list_alerts(call.state(), call.principal.clone(), here, query).await?;
    Ok(found.data)
}

/// Shows the overview.
pub async fn show_overview(
    call: PageCall,
    QueryInput(page): QueryInput<OverviewPage>,
) -> PageResult {
    let chosen = page.span.as_deref().unwrap_or(USUAL_SPAN);
    let span = SPANS.iter().find(|(name, _, _)| *name == chosen);
    let (name, label, seconds) = span.copied().unwrap_or((USUAL_SPAN, "last 24 hours", 86_400));
    let data = load_data(&call, (name, seconds)).await?;
    let items = list_attention(&call, &data);
    let body = html! {
        div class="stack" id="live-overview" data-live="part" {
            div class="head" {
                div {
                    h1 { (attention::tell_count_of(&items)) }
                    p class="lead s" { (attention::tell_health(&call, &data)) }
                }
                p class="meta" { "As of " (draw_clock(call.now)) }
            }
            (draw_attention(&items))
            @if let Some(figures) = &data.figures {
                (tiles::draw_tiles(&call, &data, figures, label))
                (chart::draw_chart(figures, name))
            }
            (map::draw_map(&call, &data))
        }
    };
    Ok(PageContent::new(PageSection::Overview, "Overview", body))
}
