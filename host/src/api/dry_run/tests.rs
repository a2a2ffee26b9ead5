use super::*;
use crate::config::ChannelsSection;
use crate::model::endpoint::Endpoint;
use crate::model::flow::Flow;
use crate::model::id::{EndpointId, EventId, FlowId};
use crate::settings::endpoint_runtime::EndpointDefaults;
use crate::store::{EventStore, StoreOpening};
use crate::time::clock::Clock;
use crate::time::timestamp::Timestamp;
use crate::wasm::tests::guests::{filter_item, guest, route_item, transform_item};
use crate::wasm::tests::load_guest;
use serde_json::{Value, json};
use std::time::Duration;

const DEFAULTS: EndpointDefaults = EndpointDefaults {
    schedule: Vec::new(),
    timeout: Duration::from_secs(1),
    max_in_flight: 1,
    smart_window: Duration::from_secs(1),
    smart_max_wait: Duration::from_secs(1),
    channels: ChannelsSection { file_directories: Vec::new(), smtp_without_tls: false },
    module_plain_http: Vec::new(),
};

fn invoice(data: &str) -> Event {
    let incoming = crate::ingest::incoming::IncomingEvent::new(
        "invoice.paid",
        RawValue::from_string(data.to_owned()).unwrap(),
    );
    crate::ingest::accept::make_event(incoming, Clock::System.now())
}

fn endpoint(store: &EventStore, name: &str, enabled: bool) -> Arc<EndpointRuntime> {
    let settings = json!({"name": name, "url": "http://127.0.0.1:1/", "enabled": enabled,
        "field_map": {"include": ["a"]}});
    let time = Timestamp::default();
    let settings = serde_json::from_value(settings).unwrap();
    let id = EndpointId::generate();
    let endpoint = Endpoint { id, settings, created_at: time, updated_at: time };
    Arc::new(EndpointRuntime::new(endpoint, None, &DEFAULTS, store, None).unwrap())
}

/// Returns a flow whose first module makes `count` drafts of `data`, and whose second routes them.
async fn flow(store: &EventStore, count: usize, data: &str, enabled: bool) -> FlowRuntime {
    let settings = json!({"name": "books", "events": ["invoice.*"], "endpoints": []});
    let time = Timestamp::default();
    let settings = serde_json::from_value(settings).unwrap();
    let flow = Flow { id: FlowId::generate(), settings, created_at: time, updated_at: time };
    let transform = guest("transform-module", &transform_item(count, data));
    let route = [filter_item("(i32.const 1024)"), transform_item(1, data), route_item(60)];
    let route = guest("pipeline-module", &route.concat());
    let mut modules = Vec::new();
    for (n, (name, wasm)) in [("split", transform), ("send", route)].into_iter().enumerate() {
        let version = u32::try_from(n + 1).unwrap();
        modules.push(ModuleStage {
            settings: serde_json::from_value(json!({ "name": name })).unwrap(),
            config: Arc::default(),
            grants: None,
            secrets: Arc::default(),
            module: Ok((version, load_guest(&wasm).await)),
            share: Semaphore::new(1),
            figures: store.metrics().find_module(name),
            version_figures: None,
            breaker: None,
            log: Arc::default(),
            trial: None,
        });
    }
    let endpoints = vec![endpoint(store, "invoice.paid", enabled)];
    let lane = store.prefetch().open_flow_lane(flow.id);
    let figures = store.metrics().find_flow(&flow.settings.name);
    FlowRuntime { flow, condition: None, endpoints, modules, locked: false, lane, figures }
}

async fn run_dry(store: &EventStore, flow: &FlowRuntime, event: &Event) -> Value {
    let heavy = Arc::new(Semaphore::new(1));
    let planner = FlowPlanner {
        route: flow,
        store,
        event,
        attempt: 1,
        dedupe_for: Duration::from_hours(1),
        heavy: &heavy,
        room: ContentsRoom::DRY_RUN,
        clock: None,
        requests: None,
        is_traced: false,
        versions: VersionChoice::Present,
    };
    let outcome = planner.choose_deliveries().await;
    serde_json::to_value(DryRunAnswer::of(flow, event, 1, outcome)).unwrap()
}

async fn store(folder: &tempfile::TempDir) -> EventStore {
    let url = format!("sqlite:{}?mode=rwc", folder.path().join("w.db").display());
    EventStore::open(&url, Clock::System, StoreOpening::default()).await.unwrap().0
}

#[tokio::test]
async fn each_module_is_shown_with_what_it_got_and_made() {
    let folder = tempfile::TempDir::new().unwrap();
    let store = store(&folder).await;
    let flow = flow(&store, 2, r#"{"a":1.50,"b":2}"#, true).await;
    let event = invoice(r#"{"a":0}"#);
    let answer = run_dry(&store, &flow, &event).await;
    let steps = answer["steps"].as_array().unwrap();
    let words = |name: &str| -> Vec<String> {
        steps.iter().map(|step| step[name].as_str().unwrap_or_default().to_owned()).collect()
    };
    let roles = words("role");
    let each = ["filter", "transform", "route"];
    assert_eq!(roles, [&["transform"][..], &each, &each].concat(), "{answer:#}");
    let drafts = steps[0]["drafts"].as_array().unwrap();
    assert_eq!([&drafts[0]["data"]["b"], &drafts[1]["data"]["b"]], [2, 2]);
    assert_eq!([&steps[0]["draft"], &steps[1]["draft"]], [&Value::Null, &drafts[0]["id"]]);
    assert_eq!(steps[4]["draft"], drafts[1]["id"]);
    let second = &steps[2]["drafts"][0];
    assert_eq!(second["same_data"], true, "the payload is not stored twice");
    let dispatch = &steps[3]["dispatches"][0];
    assert_eq!(
        [&dispatch["endpoint"], &dispatch["draft"]],
        [&json!("invoice.paid"), &second["id"]]
    );
    assert_eq!(dispatch["delay_seconds"], 60);

    let sent = answer["dispatches"].as_array().unwrap();
    assert_eq!((sent.len(), answer["end"].as_str()), (2, Some("planned")), "{answer:#}");
    assert_eq!(sent[0]["id"], second["id"]);
    assert_eq!(sent[0]["body"]["payload"], json!({"a": 1.5}), "the field map applies");
    let why = sent[0]["reason"].as_str().unwrap();
    assert!(why.contains("secret of endpoint `invoice.paid` cannot be read"), "{why}");
}

#[tokio::test]
async fn a_disabled_endpoint_and_an_unfit_event_are_told() {
    let folder = tempfile::TempDir::new().unwrap();
    let store = store(&folder).await;
    let flow = flow(&store, 1, "{}", false).await;
    let answer = run_dry(&store, &flow, &invoice("{}")).await;
    assert_eq!(answer["dispatches"][0]["reason"], "endpoint `invoice.paid` is disabled");
    assert_eq!(answer["dispatches"][0]["would_send"], false);
    let other = Event { event_type: "lead.created".to_owned(), ..invoice("{}") };
    let answer = run_dry(&store, &flow, &other).await;
    assert_eq!(answer["not_taken"], "flow `books` takes no events of type `lead.created`");
    assert_eq!(answer["failure"]["reason"], "module_output", "no endpoint has that name");
}

#[tokio::test]
async fn what_an_event_adds_to_the_database_is_measured() {
    let folder = tempfile::TempDir::new().unwrap();
    let store = store(&folder).await;
    let data = json!({"a": "x".repeat(1_000)}).to_string();
    let flow = flow(&store, 1, &data, true).await;
    let event = Event { id: EventId::generate(), ..invoice("{}") };
    let heavy = Arc::new(Semaphore::new(1));
    let planner = FlowPlanner {
        route: &flow,
        store: &store,
        event: &event,
        attempt: 1,
        dedupe_for: Duration::from_hours(1),
        heavy: &heavy,
        room: ContentsRoom::STORED,
        clock: None,
        requests: None,
        is_traced: false,
        versions: VersionChoice::Present,
    };
    let outcome = planner.choose_deliveries().await;
    let contents = outcome.contents.unwrap();
    // One draft with its kilobyte, one that passes it on, one dispatch.
    let added = contents.len() - data.len();
    assert!(added < 400, "{added} bytes beside the payload: {contents}");
}
