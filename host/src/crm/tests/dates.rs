//! Time passing over rows that nobody touches.

use jiff::{SignedDuration, ToSpan as _};

use super::scan::{Source, names};
use crate::crm::derive::ScanPurpose;

fn days_later(source: &mut Source, days: i64) -> Vec<String> {
    source.now += days.days();
    names(&source.scan(ScanPurpose::Changes))
}

fn run(source: &mut Source, sql: &str) -> Vec<String> {
    source.database.run(sql);
    names(&source.scan(ScanPurpose::Changes))
}

#[test]
fn each_date_is_told_once() {
    let mut source = Source::scanned();
    assert_eq!(days_later(&mut source, 1), [""; 0]);
    assert_eq!(
        days_later(&mut source, 2),
        ["invoice.overdue#131"],
        "due two days after the first scan"
    );
    assert_eq!(days_later(&mut source, 5), [""; 0]);
    assert_eq!(
        days_later(&mut source, 3),
        ["invoice.overdue#128", "invoice.overdue#129", "task.overdue#870", "task.overdue#872"]
    );
    assert_eq!(days_later(&mut source, 6), ["estimate.expiring#62", "estimate.expiring#63"]);
    assert_eq!(days_later(&mut source, 10), ["contract.expiring#19", "contract.expiring#20"]);
    assert_eq!(days_later(&mut source, 3), [""; 0], "today is the last day");
    assert_eq!(days_later(&mut source, 1), ["contract.expired#19", "contract.expired#20"]);
    assert_eq!(days_later(&mut source, 400), [""; 0], "drafts are never overdue");
}

#[test]
fn another_date_is_told_anew() {
    let mut source = Source::scanned();
    let found =
        run(&mut source, "UPDATE `tbltasks` SET `duedate` = '2026-05-19' WHERE `id` = 872;");
    assert_eq!(found, ["task.overdue#872", "task.updated#872"]);
    let found = run(&mut source, "UPDATE `tbltasks` SET `status` = 5 WHERE `id` = 872;");
    assert!(!found.contains(&"task.overdue#872".to_owned()));
    let found = run(&mut source, "UPDATE `tbltasks` SET `status` = 4 WHERE `id` = 872;");
    assert!(!found.contains(&"task.overdue#872".to_owned()), "the same date is not told again");
    run(&mut source, "UPDATE `tbltasks` SET `duedate` = '2026-05-21' WHERE `id` = 872;");
    assert_eq!(days_later(&mut source, 2), ["task.overdue#872"]);
}

#[test]
fn the_crm_and_the_calendar_say_one_thing() {
    let mut source = Source::scanned();
    assert_eq!(days_later(&mut source, 3), ["invoice.overdue#131"]);
    let found = run(&mut source, "UPDATE `tblinvoices` SET `status` = 4 WHERE `id` = 131;");
    assert_eq!(found, ["invoice.status_changed#131", "invoice.updated#131"]);
    run(&mut source, "UPDATE `tblinvoices` SET `status` = 3 WHERE `id` = 131;");
    assert_eq!(days_later(&mut source, 1), [""; 0], "partly paid, and told of");
    let found = run(&mut source, "UPDATE `tblinvoices` SET `status` = 4 WHERE `id` = 131;");
    assert!(found.contains(&"invoice.overdue#131".to_owned()), "the CRM says it a second time");
}

#[test]
fn options_of_the_crm_say_how_near_is_near() {
    let mut source = Source::scanned();
    source.options.contract_expiration_before = 30;
    assert_eq!(
        names(&source.scan(ScanPurpose::Changes)),
        ["contract.expiring#19", "contract.expiring#20"]
    );
}

#[test]
fn an_attempt_has_its_time() {
    let mut source = Source::scanned();
    let begun = "INSERT INTO `tblpayment_attempts` (`id`, `reference`, `invoice_id`, `amount`, `fee`, `payment_gateway`, `created_at`) \
                 VALUES (7, 'r', 128, 9.5, 0, 'stripe', '2026-05-20 14:00:00');";
    assert_eq!(run(&mut source, begun), [""; 0]);
    source.now += SignedDuration::from_mins(31);
    let events = source.scan(ScanPurpose::Changes);
    assert_eq!(names(&events), ["payment.failed#7"]);
    assert_eq!(events[0].data["amount"], "9.50");
    assert_eq!(days_later(&mut source, 1), [""; 0]);
}
