//! The data that an accounting system needs from a CRM's events: currencies, taxes, customers and
//! custom fields.

use serde_json::{Value, json};
use waybill_tests::Backend::Sqlite;
use waybill_tests::World;
use waybill_tests::world::text;

use super::{Crm, SOURCE, happened, run_well, source};
use crate::poll;

/// Returns the last event of that type, with its changes.
async fn last(world: &World, event_type: &str) -> Value {
    let events = poll::events(world, SOURCE).await;
    let found = events.iter().rfind(|event| event["type"] == event_type);
    let found = found.unwrap_or_else(|| panic!("no {event_type} among {events:#?}"));
    world.get(&format!("/api/v1/events/{}", text(found, "id"))).await
}

async fn start() -> Option<(Crm, World)> {
    let crm = Crm::start().await?;
    let world = World::start(Sqlite).await?;
    Some((crm, world))
}

#[tokio::test]
async fn a_payment_says_its_currency() {
    let Some((crm, world)) = start().await else { return };
    source(&world, &crm, &json!({})).await;
    crm.change(
        "INSERT INTO tblinvoicepaymentrecords (invoiceid,amount,paymentmode,date,daterecorded,note,transactionid)
         VALUES (128,10,'1','{today}','{now}','','');",
    )
    .await;
    run_well(&world).await;
    let payment = last(&world, "payment.created").await;
    assert_eq!(payment["data"]["currency_name"], "EUR", "{payment:#}");
    assert_eq!(payment["data"]["invoice"]["currency_name"], "EUR", "{payment:#}");
}

#[tokio::test]
async fn an_invoice_says_its_taxes_and_its_customer() {
    let Some((crm, world)) = start().await else { return };
    source(&world, &crm, &json!({})).await;
    crm.change("UPDATE tblinvoices SET adminnote = 'n' WHERE id = 128;").await;
    run_well(&world).await;
    let data = last(&world, "invoice.updated").await["data"].clone();
    let taxes = data["item_taxes"].as_array().unwrap();
    assert!(!taxes.is_empty(), "{data:#}");
    let lines: Vec<&Value> = data["items"].as_array().unwrap().iter().map(|i| &i["id"]).collect();
    for tax in taxes {
        assert!(lines.contains(&&tax["itemid"]), "{tax} is of none of {lines:?}");
        assert_eq!((&tax["taxname"], &tax["taxrate"]), (&json!("VAT"), &json!("24.00")));
    }
    let customer = &data["customer"];
    assert_eq!(customer["userid"], data["clientid"]);
    assert_eq!(customer["company"], "Harbour Logistics Ltd", "{customer:#}");
    assert_eq!(customer["email"], "eleni@harbour-logistics.example", "{customer:#}");
    crm.change("UPDATE tblclients SET company = 'Harbour' WHERE userid = 42;").await;
    run_well(&world).await;
    let told = happened(&world).await;
    assert_eq!(told, ["customer.updated#42", "invoice.updated#128"], "an invoice is as it was");
}

#[tokio::test]
async fn a_custom_field_is_told_and_a_change_of_it_is_an_update_that_names_it() {
    let Some((crm, world)) = start().await else { return };
    source(&world, &crm, &json!({})).await;
    let long = "x".repeat(500);
    crm.change(&format!(
        "UPDATE tblcustomfieldsvalues SET value = '2000' WHERE relid = 311 AND fieldto = 'leads';
         INSERT INTO tblcustomfieldsvalues (relid, fieldid, fieldto, value) VALUES
            (311, 2, 'leads', 'South'), (311, 3, 'invoice', 'of an invoice'), (312, 77, 'leads', '{long}');"
    ))
    .await;
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["lead.updated#311", "lead.updated#312"]);
    let all = poll::events(&world, SOURCE).await;
    let of = async |n: usize| world.get(&format!("/api/v1/events/{}", text(&all[n], "id"))).await;
    let updated = of(0).await;
    let fields = json!({"leads_budget": "2000", "leads_region": "South"});
    assert_eq!(updated["data"]["custom_fields"], fields, "{updated:#}");
    let changes = json!({
        "changed": ["custom_fields.leads_budget", "custom_fields.leads_region"],
        "previous": {"custom_fields.leads_budget": "1000", "custom_fields.leads_region": null},
    });
    assert_eq!(updated["changes"], changes);
    let unknown = of(1).await;
    assert_eq!(unknown["data"]["custom_fields"], json!({"field_77": long}));

    crm.change(&format!(
        "UPDATE tblcustomfieldsvalues SET value = '{long}y' WHERE relid = 312;
         DELETE FROM tblcustomfieldsvalues WHERE relid = 311 AND fieldid = 2 AND fieldto = 'leads';"
    ))
    .await;
    run_well(&world).await;
    let all = poll::events(&world, SOURCE).await;
    let of = async |n: usize| world.get(&format!("/api/v1/events/{}", text(&all[n], "id"))).await;
    let (gone, long) = (of(2).await, of(3).await);
    let changes = json!({
        "changed": ["custom_fields.leads_region"], "previous": {"custom_fields.leads_region": "South"},
    });
    assert_eq!(gone["changes"], changes);
    assert_eq!(long["changes"]["changed"], json!(["custom_fields.field_77"]));
    assert_eq!(long["changes"]["previous"], json!({}), "a long value is not kept: {long:#}");
}

#[tokio::test]
async fn a_custom_field_of_a_line_is_told_and_a_change_of_it_names_the_line() {
    let Some((crm, world)) = start().await else { return };
    crm.change(
        "INSERT INTO tblcustomfields (id, fieldto, name, slug, type)
            VALUES (9, 'items', 'Colour', 'items_colour', 'input');
         INSERT INTO tblcustomfieldsvalues (relid, fieldid, fieldto, value) VALUES
            (901, 9, 'items', 'red'), (902, 9, 'items', 'blue'), (905, 9, 'items', 'of a proposal'),
            (901, 9, 'items_pr', 'of a product');",
    )
    .await;
    source(&world, &crm, &json!({})).await;
    crm.change(
        "UPDATE tblcustomfieldsvalues SET value = 'green' WHERE relid = 901 AND fieldto = 'items';",
    )
    .await;
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["invoice.updated#128"]);
    let updated = last(&world, "invoice.updated").await;
    let fields = json!({"901": {"items_colour": "green"}, "902": {"items_colour": "blue"}});
    assert_eq!(updated["data"]["item_custom_fields"], fields, "{updated:#}");
    let changes = json!({
        "changed": ["item_custom_fields.901.items_colour"],
        "previous": {"item_custom_fields.901.items_colour": "red"},
    });
    assert_eq!(updated["changes"], changes);
}

#[tokio::test]
async fn fields_that_come_to_be_read_are_no_change() {
    let Some((crm, world)) = start().await else { return };
    crm.change(
        "RENAME TABLE tblcustomfields TO other_fields, tblcustomfieldsvalues TO other_values;",
    )
    .await;
    let run = source(&world, &crm, &json!({})).await;
    assert_eq!(run["warnings"], json!([]), "an older CRM may have none: {run:#}");
    crm.change(
        "RENAME TABLE other_fields TO tblcustomfields, other_values TO tblcustomfieldsvalues;",
    )
    .await;
    run_well(&world).await;
    assert_eq!(happened(&world).await, [""; 0]);
    crm.change("UPDATE tblcustomfieldsvalues SET value = '2000' WHERE relid = 311;").await;
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["lead.updated#311"]);
}

/// An upgrade of the CRM or of its database writes every value in another form.
#[tokio::test]
async fn values_that_are_only_written_differently_are_no_updates() {
    let Some((crm, world)) = start().await else { return };
    source(&world, &crm, &json!({})).await;
    crm.change(
        "ALTER TABLE tblinvoices MODIFY total DECIMAL(15,4) NOT NULL, MODIFY subtotal DECIMAL(15,3) NOT NULL,
            MODIFY datecreated DATETIME(6) NOT NULL;
         ALTER TABLE tblitemable MODIFY qty DECIMAL(15,4) NOT NULL, MODIFY rate DECIMAL(15,6) NOT NULL;
         ALTER TABLE tblitem_tax MODIFY taxrate DECIMAL(15,4) NOT NULL;
         ALTER TABLE tblleads MODIFY lead_value DECIMAL(15,4), MODIFY dateadded DATETIME(3) NOT NULL;",
    )
    .await;
    crm.change(
        "UPDATE tblinvoices SET adminnote = IFNULL(adminnote, ''), clientnote = IFNULL(clientnote, '');
         UPDATE tblleads SET description = IFNULL(description, '');",
    )
    .await;
    run_well(&world).await;
    assert_eq!(happened(&world).await, [""; 0], "nothing has another value");
    crm.change("UPDATE tblinvoices SET total = 490.5 WHERE id = 128;").await;
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["invoice.updated#128"]);
    let updated = last(&world, "invoice.updated").await;
    assert_eq!(updated["data"]["total"], "490.5000", "as it was read");
    assert_eq!(updated["changes"]["changed"], json!(["total"]));
    assert_eq!(updated["changes"]["previous"], json!({"total": "496.0000"}));
}
