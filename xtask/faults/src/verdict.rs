//! Compares what was captured with what arrived.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use serde_json::Value;
use waybill_tests::{Arrival, Receiver};

use crate::faults::FaultSpan;
use crate::ledger::{Capture, CaptureKind, Ledger, RowKind, RowWrite};

/// Time in which a delivery must arrive, from its capture or from the end of the fault.
pub(crate) const BOUND: Duration = Duration::from_secs(15);

/// What the smart endpoint may add to it: the longest time for which it collapses states.
const COLLAPSES_FOR: Duration = Duration::from_secs(2);

/// What a source may add to it: its interval and its run.
const READS_FOR: Duration = Duration::from_secs(3);

/// One request that arrived at an endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Delivered {
    /// The id of the captured event. What a module made of an event has another id of its own.
    event: String,
    /// The `webhook-id`.
    delivery: String,
    event_type: String,
    record: String,
    payload: Value,
    at: Instant,
}

/// All arrivals of a round, by endpoint, each list in the order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Arrived(HashMap<&'static str, Vec<Delivered>>);

/// The result of one round, or of all rounds of a fault.
#[derive(Debug, Default, Clone)]
pub(crate) struct Verdict {
    pub(crate) events: usize,
    pub(crate) lost: usize,
    pub(crate) other_ids: usize,
    pub(crate) disorder: usize,
    pub(crate) late: usize,
    pub(crate) miscounted: usize,
    /// The longest wait for a delivery, from its capture or from the beginning of the fault.
    pub(crate) longest_wait: Duration,
    /// One line for each finding.
    pub(crate) findings: Vec<String>,
}

impl Arrived {
    /// Reads the arrivals at all endpoints.
    pub(crate) fn read(receiver: &Receiver) -> Self {
        let captures = CaptureKind::ALL.map(CaptureKind::endpoint);
        let rows = RowKind::ALL.map(RowKind::resource);
        let read = |name: &'static str| {
            let arrivals = receiver.arrivals(&format!("/{name}"));
            (name, arrivals.iter().map(Delivered::read).collect())
        };
        Self(captures.into_iter().chain(rows).map(read).collect())
    }

    fn at(&self, endpoint: &'static str) -> &[Delivered] {
        self.0.get(endpoint).map_or(&[][..], Vec::as_slice)
    }
}

impl Delivered {
    fn read(arrival: &Arrival) -> Self {
        let body: Value = serde_json::from_slice(&arrival.body).unwrap_or_default();
        let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let event = if body.get("parent_id").is_some() { "parent_id" } else { "id" };
        Self {
            event: text(event),
            delivery: arrival.header("webhook-id").to_owned(),
            event_type: text("event"),
            record: text("resource_id"),
            payload: body.get("payload").cloned().unwrap_or_default(),
            at: arrival.at,
        }
    }

    fn number(&self, key: &str) -> u64 {
        self.payload.get(key).and_then(Value::as_u64).unwrap_or_default()
    }
}

/// Judges a round.
pub(crate) fn judge(ledger: &Ledger, arrived: &Arrived, span: FaultSpan) -> Verdict {
    let (captures, writes) = (ledger.captures(), ledger.writes());
    let mut verdict = Verdict { events: captures.len() + writes.len(), ..Verdict::default() };
    for kind in CaptureKind::ALL {
        let captures: Vec<&Capture> = captures.iter().filter(|one| one.kind == kind).collect();
        let arrivals = arrived.at(kind.endpoint());
        match kind {
            CaptureKind::Smart => verdict.judge_states(&captures, arrivals, span),
            CaptureKind::Plain | CaptureKind::Ordered | CaptureKind::Counted => {
                verdict.judge_each(&captures, arrivals, span);
            }
        }
        verdict.judge_ids(kind.endpoint(), arrivals, |one| one.event.clone());
        match kind {
            CaptureKind::Ordered => verdict.judge_order(arrivals),
            CaptureKind::Counted => verdict.judge_counts(&captures, arrivals),
            CaptureKind::Plain | CaptureKind::Smart => {}
        }
    }
    for kind in RowKind::ALL {
        let writes: Vec<&RowWrite> = writes.iter().filter(|one| one.kind == kind).collect();
        let arrivals = arrived.at(kind.resource());
        verdict.judge_rows(&writes, arrivals, span);
        let fact = |one: &Delivered| format!("{} {}", one.event_type, one.record);
        let value = |one: &Delivered| format!("{} = {}", fact(one), one.number("v"));
        let is_new = |one: &&Delivered| one.event_type.ends_with(".created");
        let created: Vec<Delivered> = arrivals.iter().filter(is_new).cloned().collect();
        verdict.judge_ids(kind.resource(), &created, fact);
        let changed: Vec<Delivered> = arrivals.iter().filter(|one| !is_new(one)).cloned().collect();
        verdict.judge_ids(kind.resource(), &changed, value);
    }
    verdict
}

impl Verdict {
    /// Returns whether nothing is lost so far.
    pub(crate) fn is_complete(&self) -> bool {
        self.lost == 0
    }

    fn find(&mut self, finding: String) {
        self.findings.push(finding);
    }

    /// Compares an arrival, or its absence, with the time at which it was due.
    fn judge_arrival(
        &mut self,
        what: &str,
        captured: Instant,
        arrival: Option<Instant>,
        span: FaultSpan,
        more: Duration,
    ) {
        let Some(arrival) = arrival else {
            self.lost += 1;
            return self.find(format!("lost: {what}"));
        };
        let due = captured.max(span.ended) + BOUND + more;
        if arrival > due {
            self.late += 1;
            let by = arrival.duration_since(due).as_secs_f64();
            self.find(format!("late by {by:.1} s: {what}"));
        }
    }

    /// Judges events of which each must arrive.
    fn judge_each(&mut self, captures: &[&Capture], arrivals: &[Delivered], span: FaultSpan) {
        let first = first_by(arrivals, |one| one.event.as_str());
        for capture in captures {
            let at = first.get(capture.id.as_str()).map(|one| one.at);
            self.judge_arrival(&describe(capture), capture.at, at, span, Duration::ZERO);
            let from = capture.at.max(span.began);
            let wait = at.map(|at| at.saturating_duration_since(from)).unwrap_or_default();
            // What was delivered before the fault says nothing about it.
            if at.is_some_and(|at| at > span.began) {
                self.longest_wait = self.longest_wait.max(wait);
            }
        }
    }

    /// Judges states of which the last of each record must arrive.
    fn judge_states(&mut self, captures: &[&Capture], arrivals: &[Delivered], span: FaultSpan) {
        for capture in captures {
            let is_it = |one: &&Delivered| {
                one.record == capture.record && one.number("n") >= capture.number
            };
            let at = arrivals.iter().find(is_it).map(|one| one.at);
            self.judge_arrival(&describe(capture), capture.at, at, span, COLLAPSES_FOR);
        }
    }

    /// Judges rows, of which each state or a later one must arrive.
    fn judge_rows(&mut self, writes: &[&RowWrite], arrivals: &[Delivered], span: FaultSpan) {
        for write in writes {
            let RowWrite { kind, key, value, at } = write;
            let is_it = |one: &&Delivered| one.record == *key && one.number("v") >= *value;
            let came = arrivals.iter().find(is_it).map(|one| one.at);
            let what = format!("{} {key} = {value}", kind.resource());
            self.judge_arrival(&what, *at, came, span, READS_FOR);
        }
    }

    /// Finds facts that arrived under more than one `webhook-id`.
    fn judge_ids(
        &mut self,
        endpoint: &str,
        arrivals: &[Delivered],
        fact: impl Fn(&Delivered) -> String,
    ) {
        let mut ids: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for one in arrivals {
            ids.entry(fact(one)).or_default().insert(&one.delivery);
        }
        for (fact, ids) in ids.iter().filter(|(_, ids)| ids.len() > 1) {
            self.other_ids += ids.len() - 1;
            self.find(format!("other id: {fact} at {endpoint}: {ids:?}"));
        }
    }

    /// Finds first arrivals of states that are older than one that has arrived.
    fn judge_order(&mut self, arrivals: &[Delivered]) {
        let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for one in arrivals.iter().filter(|one| seen.insert(one.event.as_str())) {
            let newest = newest.entry(&one.record).or_default();
            let number = one.number("n");
            if number < *newest {
                self.disorder += 1;
                let (record, newest) = (&one.record, *newest);
                self.find(format!("disorder: {record}: {number} after {newest} ({})", one.event));
            }
            *newest = number.max(*newest);
        }
    }

    /// Compares the module's counts with the events: of `n` events of a record each must have
    /// another count of 1 to `n`.
    fn judge_counts(&mut self, captures: &[&Capture], arrivals: &[Delivered]) {
        let first = first_by(arrivals, |one| one.event.as_str());
        let mut counts: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for capture in captures {
            let Some(one) = first.get(capture.id.as_str()) else { continue };
            let count = one.payload.pointer("/answers/0").and_then(Value::as_f64);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a small whole number"
            )]
            let count = count.unwrap_or_default() as u64;
            counts.entry(&capture.record).or_default().push(count);
        }
        for (record, mut counts) in counts {
            counts.sort_unstable();
            let wrong = (1_u64..).zip(&counts).filter(|(right, count)| right != *count).count();
            if wrong > 0 {
                self.miscounted += wrong;
                self.find(format!("miscounted: {record}: {counts:?}"));
            }
        }
    }
}

fn describe(capture: &Capture) -> String {
    let Capture { id, kind, record, number, .. } = capture;
    format!("{} {record} = {number} ({id})", kind.event_type())
}

/// Returns the first arrival of each key.
fn first_by<'d>(
    arrivals: &'d [Delivered],
    key: impl Fn(&'d Delivered) -> &'d str,
) -> HashMap<&'d str, &'d Delivered> {
    let mut first = HashMap::new();
    for one in arrivals {
        first.entry(key(one)).or_insert(one);
    }
    first
}

/// Returns the longest time without an acknowledgement.
pub(crate) fn longest_gap(ledger: &Ledger) -> Duration {
    let mut times: Vec<Instant> = ledger.captures().iter().map(|capture| capture.at).collect();
    times.sort_unstable();
    let gaps = times.iter().zip(times.iter().skip(1));
    gaps.map(|(one, next)| next.duration_since(*one)).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A round in which the fault took the second second.
    struct Round {
        start: Instant,
        ledger: Ledger,
        arrived: Arrived,
    }

    impl Round {
        fn new() -> Self {
            Self { start: Instant::now(), ledger: Ledger::default(), arrived: Arrived::default() }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        fn captures(&self, kind: CaptureKind, id: &str, number: u64) {
            let (id, record) = (id.to_owned(), "r".to_owned());
            let at = self.at(0);
            self.ledger.note_captures(vec![Capture { id, kind, record, number, at }]);
        }

        fn delivers(&mut self, endpoint: &'static str, ids: (&str, &str), payload: Value, at: u64) {
            let one = Delivered {
                event: ids.0.to_owned(),
                delivery: ids.1.to_owned(),
                event_type: "a.created".to_owned(),
                record: "r".to_owned(),
                payload,
                at: self.at(at),
            };
            self.arrived.0.entry(endpoint).or_default().push(one);
        }

        fn verdict(&self) -> Verdict {
            let span = FaultSpan { began: self.at(1), ended: self.at(2) };
            judge(&self.ledger, &self.arrived, span)
        }
    }

    #[test]
    fn what_does_not_arrive_is_lost_and_what_arrives_after_the_bound_is_late() {
        let mut round = Round::new();
        for id in ["a", "b", "c"] {
            round.captures(CaptureKind::Plain, id, 1);
        }
        round.delivers("plain", ("a", "1"), json!({}), 17);
        round.delivers("plain", ("b", "2"), json!({}), 18);
        let found = round.verdict();
        assert_eq!((found.events, found.lost, found.late), (3, 1, 1));
        assert_eq!(found.longest_wait, Duration::from_secs(17));
        assert_eq!(found.findings.len(), 2, "{:?}", found.findings);
    }

    #[test]
    fn a_repeat_has_the_same_id() {
        let mut round = Round::new();
        round.captures(CaptureKind::Plain, "a", 1);
        round.delivers("plain", ("a", "1"), json!({}), 1);
        round.delivers("plain", ("a", "1"), json!({}), 2);
        assert_eq!(round.verdict().other_ids, 0);
        round.delivers("plain", ("a", "2"), json!({}), 3);
        assert_eq!(round.verdict().other_ids, 1);
    }

    #[test]
    fn an_older_state_after_a_newer_one_is_disorder_unless_it_is_a_repeat() {
        let mut round = Round::new();
        for (id, number) in [("a", 1), ("c", 3), ("a", 1), ("b", 2)] {
            round.captures(CaptureKind::Ordered, id, number);
            round.delivers("ordered", (id, id), json!({"n": number}), 1);
        }
        assert_eq!(round.verdict().disorder, 1);
    }

    #[test]
    fn of_collapsed_states_the_last_must_arrive() {
        let mut round = Round::new();
        round.captures(CaptureKind::Smart, "a", 1);
        round.captures(CaptureKind::Smart, "b", 2);
        round.delivers("smart", ("a", "1"), json!({"n": 1}), 1);
        assert_eq!(round.verdict().lost, 1);
        round.delivers("smart", ("b", "2"), json!({"n": 2}), 1);
        assert_eq!(round.verdict().lost, 0);
    }

    #[test]
    fn a_count_that_two_events_have_is_wrong() {
        let mut round = Round::new();
        for (id, count) in [("a", 1.0), ("b", 2.0), ("c", 2.0)] {
            round.captures(CaptureKind::Counted, id, 1);
            round.delivers("counted", (id, id), json!({"answers": [count]}), 1);
        }
        assert_eq!(round.verdict().miscounted, 1);
    }

    #[test]
    fn a_row_is_created_once_and_its_last_state_arrives() {
        let mut round = Round::new();
        for value in [1, 2] {
            let (kind, key, at) = (RowKind::Table, "r".to_owned(), round.at(0));
            round.ledger.note_write(RowWrite { kind, key, value, at });
        }
        round.delivers("orders", ("a", "1"), json!({"v": 1}), 1);
        assert_eq!((round.verdict().lost, round.verdict().other_ids), (1, 0));
        round.delivers("orders", ("b", "2"), json!({"v": 2}), 1);
        assert_eq!((round.verdict().lost, round.verdict().other_ids), (0, 1));
    }
}
