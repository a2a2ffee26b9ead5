//! The events of the load: an invoice of about one kilobyte that carries its number and its
//! send time.

use bytes::Bytes;

/// Marks an event on its way: `lg.NUMBER.MICROSECONDS`. It is text, so that it passes every module
/// that keeps the invoice's number.
const MARK: &[u8] = b"lg.";

/// The end of an event.
const TAIL: &str = r#""}}"#;

/// The filler of an event.
const FILLER: &str = "Lorem ipsum dolor sit amet consectetur ";

/// Returns a text of 1,024 bytes: a head, an invoice with its number and its send time, and filler.
fn invoice(head: &str, seq: usize, micros: u64) -> String {
    let mut text = format!(
        concat!(
            r#"{head}{{"id":"{seq}","#,
            r#""formatted_number":"lg.{seq}.{micros}","clientid":"17","#,
            r#""currency_name":"EUR","date":"2026-03-01","duedate":"2026-03-31","#,
            r#""subtotal":"1299.00","total_tax":"246.81","total":"1545.81","#,
            r#""adjustment":"0.00","discount_total":"0.00","status":"2","#,
            r#""items":[{{"description":"Pro plan","qty":"1","rate":"999.00"}},"#,
            r#"{{"description":"Seats","qty":"3","rate":"100.00"}}],"adminnote":""#,
        ),
        head = head,
        seq = seq,
        micros = micros,
    );
    let missing = 1024_usize.saturating_sub(text.len() + TAIL.len());
    text.extend(FILLER.chars().cycle().take(missing));
    text.push_str(TAIL);
    text
}

/// Returns one event. `resource_id` distinguishes the records.
fn event(kind: &str, seq: usize, micros: u64) -> String {
    invoice(&format!(r#"{{"type":"{kind}","resource_id":"{seq}","data":"#), seq, micros)
}

/// Returns one webhook in PerfexAPI's form.
pub(crate) fn webhook(seq: usize, micros: u64) -> String {
    invoice(r#"{"event":"invoice.paid","payload":"#, seq, micros)
}

/// Returns a request's body: one event, or an array of `batch` of them.
pub(crate) fn body(kind: &str, first: usize, batch: usize, micros: u64) -> Bytes {
    if batch == 1 {
        return event(kind, first, micros).into();
    }
    let events: Vec<String> = (first..first + batch).map(|seq| event(kind, seq, micros)).collect();
    format!("[{}]", events.join(",")).into()
}

/// Returns the number and send time in a delivery's body.
pub(crate) fn mark(body: &[u8]) -> Option<(usize, u64)> {
    let at = memchr::memmem::find(body, MARK)? + MARK.len();
    let mut numbers = body.get(at..)?.split(|byte| !byte.is_ascii_digit());
    let mut number = || std::str::from_utf8(numbers.next()?).ok()?.parse::<u64>().ok();
    let (seq, micros) = (number()?, number()?);
    Some((seq.try_into().ok()?, micros))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{body, mark, webhook};

    #[test]
    fn an_event_is_a_kilobyte_and_carries_its_mark() {
        let one = body("invoice.paid", 41, 1, 1_700_000_000_000_000);
        assert_eq!(one.len(), 1024);
        assert!(serde_json::from_slice::<Value>(&one).unwrap().is_object());
        assert_eq!(mark(&one), Some((41, 1_700_000_000_000_000)));
        assert_eq!(mark(b"{}"), None);
    }

    #[test]
    fn a_webhook_is_a_kilobyte_too() {
        let one = webhook(41, 1_700_000_000_000_000);
        assert_eq!(one.len(), 1024);
        let read: Value = serde_json::from_str(&one).unwrap();
        assert_eq!(
            (&read["event"], &read["payload"]["id"]),
            (&"invoice.paid".into(), &"41".into())
        );
        assert_eq!(mark(one.as_bytes()), Some((41, 1_700_000_000_000_000)));
    }

    #[test]
    fn a_batch_is_an_array() {
        let batch: Value = serde_json::from_slice(&body("invoice.paid", 0, 3, 9)).unwrap();
        assert_eq!(batch.as_array().unwrap().len(), 3);
    }
}
