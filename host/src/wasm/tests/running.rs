//! What runs give, and what hostile guests get.

use super::guests::{self, dropping, filter, filter_item, guest, route_item, transform_item};
use super::{ENGINE, cache};
use crate::model::flow::ModuleConfig;
use crate::wasm::{
    LoadedModule, ModuleEngine, ModuleFailure, ModuleInput, ModuleLimits, ModuleRole, ModuleRun,
    PATIENCE, RoleVerdict, RunEnd, embed_manifest,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const EVENT: ModuleInput<'static> = ModuleInput {
    id: "evt_01976f0c-0000-7000-8000-000000000001",
    flow: "",
    source: "crm",
    kind: "invoice.created",
    resource: Some("invoice"),
    subject: Some("17"),
    time: "2026-03-01T09:30:00.000Z",
    attempt: 1,
    changes: None,
    attributes: &[],
    data: r#"{"total":"10.00"}"#,
    received: Duration::from_millis(1_772_357_400_123),
    patience: PATIENCE,
    may_reuse: false,
};

const TRAP: &str = "unreachable";
const SPIN: &str = "(loop (br 0)) unreachable";

async fn admitted(wasm: &[u8]) -> LoadedModule {
    let (_dir, cache) = cache();
    ENGINE.admit_module(&cache, wasm).await.expect("the guest is admitted")
}

async fn run(wasm: &[u8]) -> ModuleRun {
    admitted(wasm).await.run(EVENT, &Arc::default()).await
}

async fn failure(wasm: &[u8]) -> ModuleFailure {
    let run = run(wasm).await;
    assert_eq!(run.steps.last().map(|step| step.verdict), Some(RoleVerdict::Failed));
    match run.end {
        RunEnd::Failed(failure) => failure,
        RunEnd::Dropped { .. } | RunEnd::Out(_) => panic!("it did not fail: {:?}", run.end),
    }
}

fn reason(run: &ModuleRun) -> &str {
    match &run.end {
        RunEnd::Dropped { reason } => reason,
        RunEnd::Out(_) | RunEnd::Failed(_) => panic!("it was not dropped: {:?}", run.end),
    }
}

#[tokio::test]
async fn a_filter_keeps_the_event_as_it_is() {
    let run = run(&filter("(i32.const 1024)")).await;
    assert_eq!(run.steps.len(), 1);
    assert_eq!((run.steps[0].role, run.steps[0].verdict), (ModuleRole::Filter, RoleVerdict::Kept));
    let RunEnd::Out(out) = run.end else { panic!("it goes on") };
    assert_eq!(out.len(), 1);
    assert!(out[0].draft.is_none() && out[0].dispatches.is_none());
}

#[tokio::test]
async fn a_filter_drops_the_event_with_its_reason() {
    // The reason is the event's type.
    let body = dropping(
        "(i32.load offset=16 (local.get $event))",
        "(i32.load offset=20 (local.get $event))",
    );
    let run = run(&filter(&body)).await;
    assert_eq!(reason(&run), "invoice.created");
    assert_eq!(run.steps[0].verdict, RoleVerdict::Dropped);
    assert_eq!(run.steps[0].reason.as_deref(), Some("invoice.created"));
}

#[tokio::test]
async fn all_roles_share_one_instance_and_drafts_are_routed_one_by_one() {
    let items = [filter_item("(i32.const 1024)"), transform_item(3, r#"{"a":1}"#), route_item(60)];
    let module = admitted(&guest("pipeline-module", &items.join("\n"))).await;
    let first = module.run(EVENT, &Arc::default()).await;
    let roles: Vec<_> = first.steps.iter().map(|step| (step.role, step.verdict)).collect();
    assert_eq!(
        roles,
        [
            (ModuleRole::Filter, RoleVerdict::Kept),
            (ModuleRole::Transform, RoleVerdict::Transformed),
            (ModuleRole::Route, RoleVerdict::Routed)
        ]
    );
    let RunEnd::Out(first) = first.end else { panic!("they go on") };
    let RunEnd::Out(again) = module.run(EVENT, &Arc::default()).await.end else { panic!("again") };
    assert_eq!(first.len(), 3);
    for (routed, again) in first.iter().zip(&again) {
        let draft = routed.draft.as_ref().unwrap();
        assert_eq!(draft.data, r#"{"a":1}"#);
        assert_eq!(Some(draft), again.draft.as_ref());
        let dispatches = routed.dispatches.as_ref().unwrap();
        assert_eq!(dispatches.len(), 1);
        assert_eq!(dispatches[0].destination, "invoice.created");
        assert_eq!(dispatches[0].delay_seconds, 60);
    }
    assert_ne!(first[0].draft.as_ref().unwrap().id, first[1].draft.as_ref().unwrap().id);
}

#[tokio::test]
async fn a_transform_to_nothing_ends_the_event() {
    let run = run(&guest("transform-module", &transform_item(0, ""))).await;
    assert_eq!(reason(&run), "transformed to nothing");
}

#[tokio::test]
async fn a_trap_costs_its_own_event_only() {
    let module = admitted(&filter(
        // Traps where the payload is `null`.
        "(if (i32.eq (i32.load offset=96 (local.get $event)) (i32.const 4)) (then unreachable))
         (i32.const 1024)",
    ))
    .await;
    let config = Arc::default();
    let null = ModuleInput { data: "null", ..EVENT };
    for _ in 0..3 {
        let RunEnd::Failed(failure) = module.run(null, &config).await.end else {
            panic!("it traps")
        };
        assert_eq!(failure.reason(), "module_trap");
        assert!(matches!(module.run(EVENT, &config).await.end, RunEnd::Out(_)));
    }
}

#[tokio::test]
async fn a_loop_without_end_is_a_timeout() {
    assert_eq!(
        failure(&filter(SPIN)).await,
        ModuleFailure::Timeout { limit: Duration::from_millis(100) }
    );
}

#[tokio::test]
async fn endless_recursion_is_a_trap() {
    let items = format!(
        "(func $f (param i32) (result i32) (call $f (call $f (local.get 0)))) {}",
        filter_item("(call $f (i32.const 0))")
    );
    let failure = failure(&guest("filter-module", &items)).await;
    assert!(failure.to_string().contains("call stack exhausted"), "{failure}");
    assert_eq!(failure.reason(), "module_trap");
}

#[tokio::test]
async fn a_guest_that_traps_for_want_of_memory_is_told_so() {
    let failure = failure(&filter(
        "(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable",
    ))
    .await;
    assert_eq!(failure, ModuleFailure::Memory { limit: 64 << 20 });
}

#[tokio::test]
async fn memory_is_counted_over_all_memories() {
    // Two memories of 40 MiB each.
    let items = format!(
        "(memory $other 1) {}",
        filter_item(
            "(drop (memory.grow 0 (i32.const 640)))
             (if (i32.eq (memory.grow $other (i32.const 640)) (i32.const -1)) (then unreachable))
             (i32.const 1024)"
        )
    );
    assert_eq!(failure(&guest("filter-module", &items)).await.reason(), "module_memory");
}

#[tokio::test]
async fn an_output_without_end_is_refused_before_it_is_copied() {
    // A reason of 60 MiB.
    let body = format!(
        "(drop (memory.grow (i32.const 1000))) {}",
        dropping("(i32.const 0)", "(i32.const 62914560)")
    );
    let failure = failure(&filter(&body)).await;
    assert_eq!(failure.reason(), "module_output");
    assert!(failure.to_string().contains("more than 2097152 bytes"), "{failure}");
}

#[tokio::test]
async fn rubbish_is_an_output_failure() {
    let garbage = failure(&guest("transform-module", &transform_item(1, "{no json"))).await;
    assert_eq!(garbage.reason(), "module_output");
    assert!(garbage.to_string().contains("draft 0"), "{garbage}");
    // A reason that lies outside the memory, and one that is no UTF-8.
    let outside = failure(&filter(&dropping("(i32.const 65000)", "(i32.const 65000)"))).await;
    assert_eq!(outside.reason(), "module_output", "{outside}");
    let bytes = format!(
        "(i32.store (i32.const 0) (i32.const -1)) {}",
        dropping("(i32.const 0)", "(i32.const 4)")
    );
    assert_eq!(failure(&filter(&bytes)).await.reason(), "module_output");
}

#[tokio::test]
async fn too_many_drafts_and_too_long_delays_are_refused() {
    let many = failure(&guest("transform-module", &transform_item(101, "1"))).await;
    assert!(many.to_string().contains("101 drafts, the limit is 100"), "{many}");
    let late = failure(&guest("route-module", &route_item(u32::MAX))).await;
    assert!(late.to_string().contains("a delay of 4294967295 s"), "{late}");
}

/// A route with one dispatch that has a payload of its own, a JSON text of `length` bytes from
/// 131072 on; the answer is at 3072, the dispatch at 3200.
fn route_with_payload(length: u32) -> String {
    let last = 131_072 + length - 1;
    format!(
        r#"(func (export "waybill:module/route@0.1.0#plan") (param $event i32) (result i32)
             (if (i32.lt_u (memory.size) (i32.const 12)) (then (drop (memory.grow (i32.const 11)))))
             (memory.fill (i32.const 131072) (i32.const 120) (i32.const {length}))
             (i32.store8 (i32.const 131072) (i32.const 34))
             (i32.store8 (i32.const {last}) (i32.const 34))
             (i32.store8 (i32.const 3268) (i32.const 1))
             (i32.store (i32.const 3276) (i32.const 131072))
             (i32.store (i32.const 3280) (i32.const {length}))
             (i32.store (i32.const 3076) (i32.const 3200))
             (i32.store (i32.const 3080) (i32.const 1))
             (i32.const 3072))"#
    )
}

#[tokio::test]
async fn what_all_calls_of_a_run_return_is_bounded() {
    let routing = |drafts: usize| {
        let items = [
            filter_item("(i32.const 1024)"),
            transform_item(drafts, "1"),
            route_with_payload(200_000),
        ];
        guest("pipeline-module", &items.join("\n"))
    };
    let RunEnd::Out(out) = run(&routing(80)).await.end else { panic!("16,000,000 bytes go on") };
    let data = out[79].dispatches.as_ref().unwrap()[0].data.as_ref().unwrap();
    assert_eq!(data.len(), 200_000);
    let failure = failure(&routing(90)).await;
    assert_eq!(failure.reason(), "module_output");
    assert!(failure.to_string().contains("more than 16777216 bytes in one run"), "{failure}");
}

#[tokio::test]
async fn a_module_reads_its_configuration() {
    // Drops with the value of `why` as its reason: at 512 stands the answer of `get`.
    let items = format!(
        r#"(import "waybill:module/config@0.1.0" "get" (func $get (param i32 i32 i32)))
           --- (data (i32.const 600) "why") {}"#,
        filter_item(&format!(
            "(call $get (i32.const 600) (i32.const 3) (i32.const 512))
             (if (i32.eqz (i32.load8_u (i32.const 512))) (then unreachable)) {}",
            dropping("(i32.load (i32.const 516))", "(i32.load (i32.const 520))")
        ))
    );
    let module = admitted(&guest("filter-module", &items)).await;
    let texts = BTreeMap::from([("why".to_owned(), "closed on Sundays".to_owned())]);
    let config = ModuleConfig { texts, ..ModuleConfig::default() };
    assert_eq!(reason(&module.run(EVENT, &Arc::new(config)).await), "closed on Sundays");
    assert!(matches!(module.run(EVENT, &Arc::default()).await.end, RunEnd::Failed(_)));
}

/// A filter that writes `count` lines of `length` bytes each to its log.
fn logging(count: u32, length: u32) -> Vec<u8> {
    let items = format!(
        r#"(import "waybill:module/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32)))
           --- {}"#,
        filter_item(&format!(
            "(local $n i32)
             (drop (memory.grow (i32.const 200)))
             (memory.fill (i32.const 131072) (i32.const 120) (i32.const {length}))
             (loop
               (call $log (i32.const 2) (i32.const 131072) (i32.const {length}) (i32.const 0) (i32.const 0))
               (local.set $n (i32.add (local.get $n) (i32.const 1)))
               (br_if 0 (i32.lt_u (local.get $n) (i32.const {count}))))
             (i32.const 1024)"
        ))
    );
    guest("filter-module", &items)
}

#[tokio::test]
async fn log_lines_are_kept_up_to_the_limit_and_the_module_goes_on() {
    let few = run(&logging(2, 5)).await;
    let texts: Vec<_> = few.steps[0].logs.iter().map(|line| line.message.as_str()).collect();
    assert_eq!(texts, ["xxxxx", "xxxxx"]);
    for flood in [logging(1000, 5), logging(1, 3 << 20), logging(1000, 1024)] {
        let run = run(&flood).await;
        assert!(
            matches!(run.end, RunEnd::Out(_)),
            "a module never fails for its log: {:?}",
            run.end
        );
        let logs = &run.steps[0].logs;
        let bytes: usize = logs.iter().map(|line| line.message.len()).sum();
        assert!(
            logs.len() <= 101 && bytes <= (64 << 10) + 100,
            "{} lines, {bytes} bytes",
            logs.len()
        );
        assert!(logs.last().unwrap().message.starts_with("log truncated"));
    }
}

#[tokio::test]
async fn randomness_follows_from_the_event() {
    // Drops for a reason of eight letters made of a random number.
    let items = format!(
        r#"(import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))
           --- {}"#,
        filter_item(&format!(
            "(i64.store (i32.const 0)
               (i64.add (i64.and (call $random) (i64.const 0x0f0f0f0f0f0f0f0f)) (i64.const 0x6161616161616161)))
             {}",
            dropping("(i32.const 0)", "(i32.const 8)")
        ))
    );
    let module = admitted(&guests::guest_of(&guests::with_random(), "random-filter", &items)).await;
    let config = Arc::default();
    let (first, again) = (module.run(EVENT, &config).await, module.run(EVENT, &config).await);
    assert_eq!(reason(&first), reason(&again));
    let other = module.run(ModuleInput { id: "evt_2", ..EVENT }, &config).await;
    assert_ne!(reason(&first), reason(&other));
    // Whoever knows the id and the module does not know the numbers: they follow from the server's
    // key too.
    let elsewhere = ModuleEngine::new(ModuleLimits::default(), &[8; 32]).unwrap();
    let (_dir, cache) = cache();
    let wasm = guests::guest_of(&guests::with_random(), "random-filter", &items);
    let module = elsewhere.admit_module(&cache, &wasm).await.unwrap();
    assert_ne!(reason(&first), reason(&module.run(EVENT, &config).await));
}

#[tokio::test]
async fn a_call_gives_no_more_random_bytes_than_the_limit() {
    let asking = |bytes: u32| {
        let items = format!(
            r#"(import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))
               --- {}"#,
            filter_item(&format!(
                "(drop (memory.grow (i32.const 20)))
                 (call $random (i64.const {bytes}) (i32.const 512))
                 (i32.const 1024)"
            ))
        );
        guests::guest_of(&guests::with_random(), "random-filter", &items)
    };
    assert!(matches!(run(&asking(65_536)).await.end, RunEnd::Out(_)));
    let failure = failure(&asking(65_537)).await;
    assert_eq!(failure.reason(), "module_output");
    assert!(failure.to_string().contains("exceeds limit 65536"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_than_the_pool_holds_wait_for_each_other() {
    let module = admitted(&filter("(i32.const 1024)")).await;
    let runs: Vec<_> = (0..300)
        .map(|_| {
            let module = module.clone();
            tokio::spawn(async move { module.run(EVENT, &Arc::default()).await })
        })
        .collect();
    for run in runs {
        assert!(matches!(run.await.unwrap().end, RunEnd::Out(_)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn others_get_their_turn_beside_a_loop_without_end() {
    let (spinning, quick) =
        (admitted(&filter(SPIN)).await, admitted(&filter("(i32.const 1024)")).await);
    let spin = tokio::spawn(async move { spinning.run(EVENT, &Arc::default()).await });
    let mut done = 0;
    while !spin.is_finished() {
        let run = quick.run(EVENT, &Arc::default()).await;
        assert!(matches!(run.end, RunEnd::Out(_)));
        done += 1;
        tokio::task::yield_now().await;
    }
    // There is one worker thread. Had the loop held it for its whole 100 ms, nothing else had run.
    assert!(done > 1, "{done}");
    assert!(matches!(spin.await.unwrap().end, RunEnd::Failed(ModuleFailure::Timeout { .. })));
}

#[tokio::test]
async fn a_trap_in_one_role_is_that_roles_step() {
    let items = [
        filter_item("(i32.const 1024)"),
        transform_item(1, "1"),
        format!(
            r#"(func (export "waybill:module/route@0.1.0#plan") (param i32) (result i32) {TRAP})"#
        ),
    ];
    let run = run(&guest("pipeline-module", &items.join("\n"))).await;
    let last = run.steps.last().unwrap();
    assert_eq!((last.role, last.verdict), (ModuleRole::Route, RoleVerdict::Failed));
    assert_eq!(run.steps.len(), 3);
}

/// A filter that keeps the first event of an instance, drops the next ones, and traps on `null`.
fn counting_filter() -> Vec<u8> {
    let later = dropping(
        "(i32.load offset=16 (local.get $event))",
        "(i32.load offset=20 (local.get $event))",
    );
    let body = format!(
        "(if (i32.eq (i32.load offset=96 (local.get $event)) (i32.const 4)) (then unreachable))
         (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
         (if (i32.eq (global.get $calls) (i32.const 1)) (then (return (i32.const 3072))))
         {later}"
    );
    let items = format!("(global $calls (mut i32) (i32.const 0)) {}", filter_item(&body));
    let manifest = br#"{"name":"m","limits":{"reuse":3}}"#;
    embed_manifest(&guest("filter-module", &items), manifest).expect("it can be embedded")
}

/// Whether each event was the first of its instance.
async fn are_first(
    module: &LoadedModule,
    inputs: &[ModuleInput<'_>],
    config: &Arc<ModuleConfig>,
) -> Vec<bool> {
    let mut first = Vec::new();
    for input in inputs {
        let end = module.run(*input, config).await.end;
        first.push(matches!(end, RunEnd::Out(_) | RunEnd::Failed(_)));
    }
    first
}

#[tokio::test]
async fn an_instance_handles_as_many_events_as_its_module_asks_for() {
    let limits = ModuleLimits { reuse: 8, idle: Duration::from_hours(1), ..*ENGINE.limits() };
    let engine = ModuleEngine::new(limits, &[7; 32]).expect("the engine starts");
    let (_dir, cache) = cache();
    let module = engine.admit_module(&cache, &counting_filter()).await.expect("it is admitted");
    let (config, other) = (Arc::default(), Arc::new(ModuleConfig::default()));
    let live = ModuleInput { may_reuse: true, ..EVENT };
    assert_eq!(are_first(&module, &[live; 5], &config).await, [true, false, false, true, false]);
    let of_another = [ModuleInput { flow: "other", ..live }, EVENT, live];
    assert_eq!(are_first(&module, &of_another, &config).await, [true, true, false]);
    assert_eq!(are_first(&module, &[live], &other).await, [true], "another configuration");
    let null = ModuleInput { data: "null", ..live };
    let around_a_trap = [live, null, live];
    assert_eq!(are_first(&module, &around_a_trap, &other).await, [false, true, true]);
}

#[tokio::test]
async fn without_the_operators_leave_each_event_has_a_fresh_instance() {
    let (_dir, cache) = cache();
    let refused = ENGINE.admit_module(&cache, &counting_filter()).await.unwrap_err().to_string();
    assert!(refused.contains("raise `modules.max_reuse`"), "{refused}");
}
