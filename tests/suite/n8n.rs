//! The requests of the vendor's n8n node for Perfex CRM (`n8n-nodes-perfexcrm` 0.1.31), as they were
//! recorded between n8n 1.97.1 and Waybill, and what the node needs of the answers.

use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use waybill_tests::Backend::{Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::world::text;
use waybill_tests::{Answer, Receiver, Reply, World};

use crate::support::{endpoint_with, hex_signature, problem, texts};

/// The key of Waybill's endpoint at the CRM.
const CRM_KEY: &str = "pk_of_the_crm";

/// The lists of records, each of which the node creates, reads, changes and deletes.
const COLLECTIONS: [&str; 18] = [
    "contacts",
    "contracts",
    "credit-notes",
    "customers",
    "estimates",
    "expenses",
    "invoices",
    "items",
    "leads",
    "notes",
    "payments",
    "projects",
    "proposals",
    "staff",
    "subscriptions",
    "tasks",
    "tickets",
    "timesheets",
];

/// Actions on a record, with the bodies that the node sends. A body is empty where the node sends
/// none.
const ACTIONS: [(&str, &str); 26] = [
    ("contracts/5/renew", r#"{"dateend":"2026-11-30"}"#),
    ("contracts/5/sign", r#"{"signature":"text","signer_name":"text"}"#),
    ("credit-notes/5/credits", r#"{"invoice_id":"3","amount":1}"#),
    ("credit-notes/5/refunds", r#"{"amount":1,"note":"text"}"#),
    ("estimates/5/convert", ""),
    ("estimates/5/send", ""),
    ("invoices/5/send", r#"{"cc":"text"}"#),
    ("leads/5/convert", ""),
    ("proposals/5/accept", ""),
    ("proposals/5/comments", r#"{"content":"text"}"#),
    ("proposals/5/decline", ""),
    ("proposals/5/send", r#"{"cc":"text"}"#),
    ("staff/5/activate", ""),
    ("staff/5/change-password", r#"{"new_password":"text","confirm_password":"text"}"#),
    ("staff/5/deactivate", ""),
    ("tasks/5/assign", r#"{"staff_id":"3"}"#),
    ("tasks/5/checklist", r#"{"description":"text"}"#),
    ("tasks/5/comments", r#"{"content":"text"}"#),
    ("tasks/5/followers", r#"{"staff_id":"3"}"#),
    ("tasks/5/mark-complete", ""),
    ("tasks/5/priority", r#"{"priority":1}"#),
    ("tasks/5/status", r#"{"status":1}"#),
    ("tasks/5/timesheets", r#"{"start_time":"text","end_time":"text"}"#),
    ("tickets/5/assign", r#"{"staff_id":"3"}"#),
    ("tickets/5/replies", r#"{"message":"text","name":"text"}"#),
    ("tickets/5/status", r#"{"status":1}"#),
];

/// What the node reads and only the CRM knows.
const READ_IN_CRM: [&str; 30] = [
    "contracts/5/attachments",
    "contracts/5/comments",
    "contracts/expired",
    "contracts/expiring?days=30",
    "credit-notes/5/credits",
    "credit-notes/5/pdf",
    "credit-notes/5/refunds",
    "estimates/5/pdf",
    "expenses/categories",
    "leads/5/activities",
    "projects/5/activity",
    "projects/5/files",
    "projects/5/milestones",
    "proposals/5/comments",
    "proposals/5/pdf",
    "staff/5/departments",
    "staff/5/permissions",
    "staff/5/tasks?limit=25&page=1",
    "staff/5/timesheets?date_from=2026-11-01&limit=25&page=2",
    "staff/departments",
    "staff/roles",
    "tasks/5/attachments",
    "tasks/5/checklist",
    "tasks/5/checklist/3",
    "tasks/5/comments",
    "tasks/5/followers",
    "tickets/5/attachments",
    "tickets/5/history",
    "tickets/5/replies",
    "tickets/5/replies/3",
];

/// Changes of one entry of a list of a record.
const CHANGED_PARTS: [(Method, &str, &str); 5] = [
    (Method::PUT, "tasks/5/checklist/3", r#"{"description":"text"}"#),
    (Method::PUT, "tickets/5/replies/3", r#"{"message":"text"}"#),
    (Method::DELETE, "tasks/5/checklist/3", ""),
    (Method::DELETE, "tasks/5/followers/3", ""),
    (Method::DELETE, "tickets/5/replies/3", ""),
];

/// The filters of the node's lists. The node sends `status=` for the choice "All".
const FILTERS: [&str; 60] = [
    "contacts?active=1",
    "contacts?customer_id=7",
    "contacts?is_primary=1",
    "contracts?client=7",
    "contracts?contract_type=1",
    "credit-notes?currency=1",
    "credit-notes?customer_id=7",
    "credit-notes?date_from=2026-11-30",
    "credit-notes?date_to=2026-11-30",
    "credit-notes?project_id=3",
    "credit-notes?search=text",
    "credit-notes?status=1",
    "customers?active=1",
    "customers?search=text",
    "estimates?agent=3",
    "estimates?customer_id=7",
    "estimates?date_from=2026-11-30",
    "estimates?expiry_from=2026-11-30",
    "estimates?expiry_to=2026-11-30",
    "estimates?project_id=3",
    "estimates?search=text",
    "estimates?status=1",
    "expenses?billable=1",
    "expenses?category=1",
    "expenses?currency=1",
    "expenses?customer_id=7",
    "expenses?project_id=3",
    "expenses?search=text",
    "invoices?clientid=7",
    "invoices?status=",
    "items?group_id=1",
    "items?search=text",
    "leads?assigned=3",
    "leads?search=text",
    "leads?status=1",
    "notes?rel_id=3",
    "notes?rel_type=lead",
    "notes?staff_id=3",
    "payments?invoice_id=3",
    "payments?payment_mode=1",
    "projects?billing_type=1",
    "projects?clientid=7",
    "projects?status=1",
    "proposals?assigned=3",
    "proposals?open_till_from=2026-11-30",
    "proposals?rel_type=lead",
    "proposals?search=text",
    "staff?active=1",
    "staff?role=1",
    "staff?search=text",
    "subscriptions?created_from=2026-11-30",
    "subscriptions?in_test_environment=1",
    "subscriptions?search=text",
    "tasks?duedate_to=2026-11-30",
    "tasks?milestone=1",
    "tasks?priority=1",
    "tasks?rel_id=3",
    "tasks?search=text",
    "tickets?customer_id=7",
    "timesheets?staff_id=3",
];

/// The short lists of the resource "Utility", and the groups of items.
const SHORT_LISTS: [&str; 11] = [
    "contract-types",
    "countries",
    "currencies",
    "departments",
    "item-groups",
    "lead-sources",
    "lead-statuses",
    "payment-modes",
    "taxes",
    "ticket-priorities",
    "ticket-statuses",
];

/// n8n, with a token of Waybill as its API key.
struct Node<'w> {
    world: &'w World,
    key: String,
}

impl<'w> Node<'w> {
    async fn start(world: &'w World, scopes: &[&str]) -> Self {
        let name = format!("n8n {}", scopes.len());
        let wanted = json!({"name": name, "scopes": scopes, "rate": 6000});
        let made = world.post("/api/v1/tokens", &wanted).await;
        Self { world, key: text(&made, "token") }
    }

    /// Sends a request with the headers that n8n sends.
    async fn call(&self, method: Method, path: &str, body: &str) -> Answer {
        let path = format!("/api/v1/{path}");
        let call = match body {
            "" => Call::new(method, &path),
            body => Call::with_body(method, &path, "application/json", body.to_owned()),
        };
        let call = call
            .header("accept", "application/json")
            .header("x-api-key", &self.key)
            .header("user-agent", "n8n")
            .header("accept-encoding", "gzip, compress, deflate, br");
        self.world.client_with(None).send(call).await.unwrap()
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, "").await
    }
}

fn json_reply(status: u16, body: &Value) -> Reply {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Reply::Full { status, headers, body: Bytes::from(body.to_string()) }
}

/// Creates the endpoint that writes to a CRM.
async fn connect(world: &World, crm: &Receiver) {
    let auth = json!({"kind": "api_key", "in": "header", "name": "X-API-KEY", "value": CRM_KEY});
    let settings = json!({"preset": "perfexapi", "writes_for": "crm"});
    let more = json!({"kind": "api", "settings": settings, "auth": auth, "events": []});
    world.endpoint(&endpoint_with("crm-writes", &crm.url(""), &more)).await;
}

/// Checks that a request of the node reaches the CRM as it is, but for the key, and that the node
/// gets the CRM's answer.
async fn assert_passed_on(node: &Node<'_>, crm: &Receiver, call: (Method, &str, &str)) {
    let (method, path, body) = call;
    let at_crm = format!("/api/v1/{path}");
    let reply = json!({"status": true, "data": {"id": "5", "path": path}});
    crm.always(&at_crm, json_reply(200, &reply));
    let before = crm.count(&at_crm);
    let answer = node.call(method.clone(), path, body).await;
    assert_eq!(answer.status, StatusCode::OK, "{method} {path}: {}", answer.text());
    assert_eq!((answer.header("content-type"), answer.json()), ("application/json", reply));
    let arrivals = crm.arrivals(&at_crm);
    assert_eq!(arrivals.len(), before + 1, "{method} {path}");
    let arrival = &arrivals[before];
    assert_eq!((arrival.method.as_str(), arrival.header("x-api-key")), (method.as_str(), CRM_KEY));
    let body = if body.is_empty() && method == Method::POST { "{}" } else { body };
    assert_eq!(String::from_utf8_lossy(&arrival.body), body, "{method} {path}");
    assert!(!format!("{:?}", arrival.headers).contains(&node.key), "Waybill keeps its own tokens");
}

#[tokio::test]
async fn the_trigger_subscribes_gets_its_event_and_unsubscribes() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let node = Node::start(&world, &["records:read", "endpoints:write"]).await;
    let tested = node.get("customers?per_page=1").await;
    assert_eq!((tested.status, tested.data()), (StatusCode::OK, json!([])), "the credential test");
    let hook = "/webhook/6f4ee36a-2b0c-4b33-a7d4-0a1f1c2e9d10/webhook";
    let name = "n8n-webhook-jEmbhgejKMXFAtnQ";
    let wanted = json!({
        "name": name, "url": receiver.url(hook), "events": ["invoice.paid", "ticket.reopened"],
        "secret": "s3cret of the node", "is_active": 1,
    });
    let made = node.call(Method::POST, "webhooks", &wanted.to_string()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    assert_eq!(made.data()["name"], name, "the name tells the workflow");
    let path = format!("webhooks/{}", text(&made.data(), "id"));
    assert!(node.get(&path).await.data().is_object(), "the node asks for `data`");
    // What a CRM in PHP sends: escaped slashes and letters, and decimals as texts.
    let data = json!({"id": "17", "status": "2", "total": "480.00", "note": "a/b é “x”"});
    world.event(&json!({"type": "invoice.paid", "source": "crm", "data": data})).await;
    let arrival = receiver.first(hook).await;
    assert_eq!(arrival.header("content-type"), "application/json");
    assert_eq!(
        arrival.header("x-webhook-signature"),
        hex_signature(&arrival, "s3cret of the node")
    );
    let body = arrival.json();
    assert_eq!((&body["event"], &body["payload"]), (&json!("invoice.paid"), &data));
    for _ in 0..2 {
        let ended = node.call(Method::DELETE, &path, "").await;
        assert_eq!(ended.status, StatusCode::OK, "the node keeps the id after any other status");
    }
    assert_eq!(node.get(&path).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn every_change_reaches_the_crm_as_the_node_sends_it() {
    let Some(world) = World::start(Sqlite).await else { return };
    let crm = Receiver::start().await;
    connect(&world, &crm).await;
    let node = Node::start(&world, &["records:read", "operations:run"]).await;
    for collection in COLLECTIONS {
        let record = format!("{collection}/5");
        let body = r#"{"name":"Zoë","total":480.25,"clientid":"7"}"#;
        assert_passed_on(&node, &crm, (Method::POST, collection, body)).await;
        assert_passed_on(&node, &crm, (Method::PUT, &record, r#"{"name":"Böhme & Co"}"#)).await;
        assert_passed_on(&node, &crm, (Method::DELETE, &record, "")).await;
    }
    for (path, body) in ACTIONS {
        assert_passed_on(&node, &crm, (Method::POST, path, body)).await;
    }
    for (method, path, body) in CHANGED_PARTS {
        assert_passed_on(&node, &crm, (method, path, body)).await;
    }
    // The node shows the CRM's message, and waits as long as the CRM says.
    let why = json!({"status": false, "message": "No data were found"});
    crm.always("/api/v1/leads/6", json_reply(404, &why));
    let missing = node.call(Method::PUT, "leads/6", r#"{"name":"x"}"#).await;
    assert_eq!((missing.status, missing.json()), (StatusCode::NOT_FOUND, why));
    crm.always("/api/v1/leads/6", Reply::retry_after(429, 7));
    let busy = node.call(Method::DELETE, "leads/6", "").await;
    assert_eq!((busy.status.as_u16(), busy.header("retry-after")), (429, "7"));
}

#[tokio::test]
async fn a_get_changes_nothing_and_means_the_record_that_is_known() {
    let Some(world) = World::start(Sqlite).await else { return };
    let crm = Receiver::start().await;
    let operations = json!({
        "ticket_replies_list": {"method": "GET", "path": "/tickets/{id}/replies"},
        "ticket_merge_list": {"path": "/tickets/{id}/merge"},
        "ticket_list_import": {"path": "/tickets/import"},
    });
    let settings = json!({"writes_for": "crm", "operations": operations});
    let more = json!({"kind": "api", "settings": settings, "events": []});
    world.endpoint(&endpoint_with("crm-writes", &crm.url(""), &more)).await;
    let node = Node::start(&world, &["records:read", "operations:run"]).await;
    let detail = problem_detail(&node.get("tickets/5/merge").await, 409);
    assert!(detail.contains("changes something"), "{detail}");
    problem(&node.get("tickets/import").await, 404);
    for (source, id) in [("crm", "5"), ("other", "6")] {
        let data = json!({"id": id, "subject": "s"});
        world.event(&json!({"type": "ticket.created", "source": source, "data": data})).await;
    }
    crm.always("/tickets/5/replies", json_reply(200, &json!({"data": []})));
    assert_eq!(node.get("tickets/5/replies").await.status, StatusCode::OK);
    let detail = problem_detail(&node.get("tickets/6/replies").await, 409);
    assert!(detail.contains("a record of other"), "{detail}");
    for path in ["/tickets/5/merge", "/tickets/import", "/tickets/6/replies"] {
        assert_eq!(crm.count(path), 0, "{path}");
    }
}

fn problem_detail(answer: &Answer, status: u16) -> String {
    problem(answer, status);
    text(&answer.json(), "detail")
}

#[tokio::test]
async fn what_only_the_crm_knows_is_read_there() {
    let Some(world) = World::start(Sqlite).await else { return };
    let crm = Receiver::start().await;
    let node = Node::start(&world, &["records:read", "operations:run"]).await;
    problem(&node.get("tickets/5/replies").await, 409);
    problem(&node.get("contracts/expired").await, 404);
    connect(&world, &crm).await;
    for path in READ_IN_CRM {
        assert_passed_on(&node, &crm, (Method::GET, path, "")).await;
    }
    for unknown in ["tickets/5/secrets", "tickets/5/history/3", "tickets/closed"] {
        problem(&node.get(unknown).await, 404);
    }
    assert_eq!(crm.count("/api/v1/tickets/5/secrets"), 0);
    // A token that may only read records does not reach the CRM.
    let reader = Node::start(&world, &["records:read"]).await;
    for path in ["tickets/5/replies", "tickets/5/replies/3", "contracts/expired"] {
        let before = crm.count(&format!("/api/v1/{path}"));
        problem(&reader.get(path).await, 403);
        assert_eq!(crm.count(&format!("/api/v1/{path}")), before, "{path}");
    }
    // Nor does one for other tables: the tasks of a member of staff are tasks.
    let wanted =
        json!({"name": "staff", "scopes": ["records:read", "operations:run"], "tables": ["staff"]});
    let key = text(&world.post("/api/v1/tokens", &wanted).await, "token");
    let limited = Node { world: &world, key };
    problem(&limited.get("staff/5/tasks").await, 403);
    assert_eq!(limited.get("staff/5/permissions").await.status, StatusCode::OK);
}

#[tokio::test]
async fn lists_take_the_node_s_pages_and_filters() {
    let Some(world) = World::start(Sqlite).await else { return };
    let node = Node::start(&world, &["records:read"]).await;
    for id in 1..=27 {
        let status = if id == 27 { "2" } else { "1" };
        let data = json!({"id": id.to_string(), "status": status, "clientid": "7", "clientnote": format!("Note {id} of BÖHME")});
        world.event(&json!({"type": "invoice.created", "source": "crm", "data": data})).await;
    }
    for (query, count) in [
        ("page=1&limit=25", 25),
        ("page=2&limit=25", 2),
        ("page=3&limit=25", 0),
        ("status=&page=2&limit=25", 2),
        ("status=2&page=1&limit=25", 1),
        ("clientid=7&page=2&limit=25", 2),
        ("search=note+1+of+b%C3%B6hme&page=1&limit=25", 1),
        ("search=B%C3%B6hme&page=2&limit=25", 2),
        ("search=nobody&page=1&limit=25", 0),
    ] {
        let listed = node.get(&format!("invoices?{query}")).await;
        assert_eq!(listed.status, StatusCode::OK, "{query}: {}", listed.text());
        assert_eq!(listed.data().as_array().unwrap().len(), count, "{query}");
    }
    let one = node.get("invoices/3").await.data();
    assert_eq!((&one["id"], &one["clientid"]), (&json!("3"), &json!("7")));
    let more = ["tickets/5?include=replies", "proposals/5?include=comments"];
    for path in more {
        problem(&node.get(path).await, 404);
    }
    let pages = COLLECTIONS.iter().map(|path| format!("{path}?page=1&limit=25"));
    let filtered = FILTERS.iter().map(|path| format!("{path}&page=1&limit=25"));
    let short = SHORT_LISTS.iter().map(|path| (*path).to_owned());
    for path in pages.chain(filtered).chain(short) {
        let listed = node.get(&path).await;
        assert_eq!(listed.status, StatusCode::OK, "{path}: {}", listed.text());
        assert!(listed.data().is_array(), "{path}");
    }
}

#[tokio::test]
async fn what_belongs_to_a_record_is_listed_from_the_records() {
    for backend in [Sqlite, Postgres] {
        let Some(world) = World::start(backend).await else { return };
        let node = Node::start(&world, &["records:read"]).await;
        for (parent, list, child, fields) in [
            ("customer", "contacts", "contact", json!({"userid": "5"})),
            ("customer", "contracts", "contract", json!({"client": "5"})),
            ("customer", "invoices", "invoice", json!({"clientid": "5"})),
            ("customer", "projects", "project", json!({"clientid": "5"})),
            ("customer", "tickets", "ticket", json!({"userid": "5"})),
            ("invoice", "payments", "payment", json!({"invoiceid": "5"})),
            ("lead", "notes", "note", json!({"rel_id": "5", "rel_type": "lead"})),
            ("project", "tasks", "task", json!({"rel_id": "5", "rel_type": "project"})),
            ("task", "timesheets", "timesheet", json!({"task_id": "5"})),
        ] {
            let path = format!("{parent}s/5/{list}");
            let capture = async |resource: &str, source: &str, id: &str, more: &Value| {
                let mut data = json!({"id": id, "a": "1", "b": "2", "c": "3"});
                for (name, value) in more.as_object().unwrap() {
                    data[name] = value.clone();
                }
                let event = json!({"type": format!("{resource}.created"), "source": source,
                                   "resource_id": id, "data": data});
                world.event(&event).await;
            };
            if parent != "customer" || list == "contacts" {
                problem(&node.get(&path).await, 404);
                capture(parent, "crm", "5", &json!({})).await;
            }
            capture(child, "crm", "105", &fields).await;
            let other: Value =
                fields.as_object().unwrap().keys().map(|name| (name.clone(), json!("6"))).collect();
            capture(child, "crm", "106", &other).await;
            capture(child, "other", "107", &fields).await;
            let listed = node.get(&path).await;
            assert_eq!(listed.status, StatusCode::OK, "{path}: {}", listed.text());
            assert_eq!(texts(&listed.data(), "id"), ["105"], "{path}");
            let second = node.get(&format!("{path}?page=2&limit=25")).await;
            assert_eq!(second.data(), json!([]), "{path}");
        }
        world.event(&json!({"type": "customer.created", "source": "other", "data": {"userid": "5", "company": "B"}})).await;
        let errors = problem(&node.get("customers/5/invoices").await, 422);
        assert_eq!(errors[0].0, "source");
        let listed = node.get("customers/5/invoices?source=other").await;
        assert_eq!(texts(&listed.data(), "id"), ["107"]);
        let wanted = json!({"name": "one", "scopes": ["records:read"], "tables": ["customer"]});
        let key = text(&world.post("/api/v1/tokens", &wanted).await, "token");
        problem(&Node { world: &world, key }.get("customers/5/invoices").await, 403);
    }
}
