//! The properties of a site on which the suite relies.

use hyper::Method;
use serde_json::{Value, json};

use super::{Dialect, Fault, KEY, Site, now};
use crate::rest::{Answer, Call, Client};

async fn ask(site: &Site, key: &str, path: &str) -> anyhow::Result<Answer> {
    let (header, key) = match site.dialect() {
        Dialect::DataBuilder => ("authorization", format!("Bearer {key}")),
        Dialect::Themesic => ("authtoken", key.to_owned()),
        Dialect::Perfexapi => ("x-api-key", key.to_owned()),
        Dialect::Custom => ("x-token", key.to_owned()),
    };
    let call = Call::new(Method::GET, path).header(header, &key);
    Client::new(&site.url(), None).send(call).await
}

async fn get(site: &Site, path: &str) -> Value {
    let answer = ask(site, KEY, path).await.unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

fn ids(rows: &Value) -> Vec<i64> {
    rows.as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

/// Starts a site with rows that are ten seconds apart, the last at the given time.
async fn site(dialect: Dialect, rows: i64, last: i64) -> Site {
    let site = Site::ahead(dialect, 7_200).await;
    for id in 1..=rows {
        let moment = last - 10 * (rows - id);
        let (at, day) = (site.stamp(moment), site.day(moment));
        let row = json!({"id": id, "datecreated": at, "date": day, "modified": at});
        site.put("invoices", id, row);
    }
    site
}

#[tokio::test]
async fn data_builder_pages_the_newest_first() {
    let last = now();
    let site = site(Dialect::DataBuilder, 130, last).await;
    let all = get(&site, "/api/v1/invoices?per_page=500").await;
    assert_eq!(ids(&all["data"])[..2], [130, 129]);
    assert_eq!(all["meta"], json!({"current_page": 1, "per_page": 100, "total": 130}));
    assert!(all["links"]["next"].is_string());
    let rest = get(&site, "/api/v1/invoices?per_page=100&page=2").await;
    assert_eq!((ids(&rest["data"]).len(), &rest["links"]["next"]), (30, &Value::Null));
    // The same time with and without a zone, which is then the site's.
    let at = last - 25;
    let (utc, local) = (super::time::iso(at).replace(':', "%3A"), site.stamp(at).replace(' ', "+"));
    for since in [utc, local] {
        let found = get(&site, &format!("/api/v1/invoices?since={since}")).await;
        assert_eq!(ids(&found["data"]), [130, 129, 128], "{found}");
    }
    let booked = site.wait_for(4).await;
    assert_eq!((booked[1].page, &*booked[1].list), (2, "invoices"));
    assert_eq!((booked[2].since, booked[3].since), (Some(at), Some(at)));
}

#[tokio::test]
async fn themesic_has_a_limit_and_no_pages() {
    let last = now();
    let site = site(Dialect::Themesic, 60, last).await;
    let path = "/api/zapier/poll/invoices";
    assert_eq!(ids(&get(&site, &format!("{path}?since=1")).await["data"]).len(), 50);
    let many = get(&site, &format!("{path}?since=1&limit=400&page=2")).await;
    assert_eq!((ids(&many["data"]).len(), &many["meta"]["count"]), (60, &json!(60)));
    // The rows of the whole day.
    let day = get(&site, &format!("{path}?since={last}&limit=1")).await;
    assert_eq!(ids(&day["data"]), [60]);
    site.put("leads", 1, json!({"id": 1, "dateadded": site.stamp(last - 90_000)}));
    for (since, wanted) in [("0", vec![]), ("1", vec![1])] {
        let leads = get(&site, &format!("/api/zapier/poll/leads?since={since}")).await;
        assert_eq!(ids(&leads["data"]), wanted);
    }
}

#[tokio::test]
async fn perfexapi_and_the_custom_one_page_in_their_own_order() {
    let last = now();
    let perfexapi = site(Dialect::Perfexapi, 30, last).await;
    let page = get(&perfexapi, "/api/v1/invoices?page=2").await;
    assert_eq!(ids(&page["data"]), [5, 4, 3, 2, 1]);
    perfexapi.put("leads", 1, json!({"id": 1}));
    assert_eq!(get(&perfexapi, "/api/v1/leads").await, json!([{"id": 1}]));

    let custom = site(Dialect::Custom, 50, last).await;
    let page = get(&custom, "/erp/invoices?n=500&p=2").await;
    assert_eq!(ids(&page["result"]["items"]), [41, 42, 43, 44, 45, 46, 47, 48, 49, 50]);
    let later = get(&custom, &format!("/erp/invoices?changed_after={}", last - 5)).await;
    assert_eq!(ids(&later["result"]["items"]), [50]);
}

#[tokio::test]
async fn it_misbehaves_as_it_is_told() {
    let site = Site::start(Dialect::DataBuilder).await;
    let path = "/api/v1/invoices";
    for (fault, header) in
        [(Fault::Busy(3), "3"), (Fault::BusyUntil(3), "GMT"), (Fault::BusyInBody(3), "")]
    {
        site.fail(1, fault);
        let answer = ask(&site, KEY, path).await.unwrap();
        assert_eq!(answer.status, 429);
        assert!(answer.header("retry-after").ends_with(header));
        assert_eq!(answer.json()["retry_after"] == 3, header.is_empty());
    }
    for fault in [Fault::Vanish, Fault::Cut] {
        site.fail(1, fault);
        assert!(ask(&site, KEY, path).await.is_err(), "there is no whole answer");
    }
    site.fail_when(usize::MAX, Fault::Status(500), |asked| asked.page == 2);
    assert_eq!(ask(&site, KEY, "/api/v1/invoices?page=2").await.unwrap().status, 500);
    assert_eq!(get(&site, path).await["data"], json!([]));
    let wrong = ask(&site, "wrong", path).await.unwrap();
    assert_eq!(wrong.status, 401);
    assert!(wrong.text().contains("unknown key Bearer wrong"));
    site.lock_with("another");
    assert_eq!(ask(&site, KEY, path).await.unwrap().status, 401);
    site.heal();
    assert_eq!(get(&site, "/api/v1/invoices?page=2").await["data"], json!([]));
    let statuses: Vec<u16> = site.asked().iter().map(|asked| asked.status).collect();
    assert_eq!(statuses, [429, 429, 429, 0, 200, 500, 200, 401, 401, 200]);
}

#[tokio::test]
async fn rows_come_and_go_between_two_pages() {
    let site = site(Dialect::Perfexapi, 10, now()).await;
    site.before_answers(|rows, asked| {
        if asked.page == 2 {
            rows.remove("invoices", 10);
            rows.put("invoices", 11, json!({"id": 11}));
            rows.put("invoices", 1, json!({"id": 100}));
        }
    });
    assert_eq!(ids(&get(&site, "/api/v1/invoices?limit=5").await["data"]), [10, 9, 8, 7, 6]);
    let second = get(&site, "/api/v1/invoices?limit=5&page=2").await;
    assert_eq!(ids(&second["data"]), [5, 4, 3, 2, 100]);
}
