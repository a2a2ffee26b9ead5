//! The capability `records`: look-ups in the record store.

use super::bindings::waybill::module::records::{Found, Host};
use super::bindings::waybill::module::types::Failure;
use super::capabilities::{CapabilityRun, look_up, permanent, retryable};
use super::case_world::RunStore;
use super::guest_log::clip;
use super::guest_state::GuestState;
use crate::json::storable::is_storable;
use crate::model::capability_grants::ModuleCapability;
use crate::model::event::MAX_KEY;
use crate::store::{FoundRecord, RecordLookup};

/// Most look-ups in one run.
const MAX_LOOKUPS: usize = 50;
/// Most records that one look-up returns.
const MAX_FOUND: u32 = 100;
/// Most bytes of records that one run may read. The host keeps them until the run ends, so that a
/// repeated look-up gives the same answer.
pub const MAX_RECORD_BYTES: usize = 16 << 20;

impl Host for GuestState {
    async fn get(
        &mut self,
        source: String,
        resource: String,
        id: String,
    ) -> Result<Option<Found>, Failure> {
        let run = self.granted(ModuleCapability::Records)?;
        let lookup = RecordLookup { source, resource, field: None, value: id, limit: 1 };
        Ok(run.find_records(lookup).await?.into_iter().next())
    }

    async fn find(
        &mut self,
        source: String,
        resource: String,
        field: String,
        value: String,
        limit: u32,
    ) -> Result<Vec<Found>, Failure> {
        let run = self.granted(ModuleCapability::Records)?;
        if limit == 0 || limit > MAX_FOUND {
            let message = format!("`records.find` gives 1 to {MAX_FOUND} records, not {limit}");
            return Err(permanent("invalid", message));
        }
        run.check_indexed(&resource, &field)?;
        run.find_records(RecordLookup { source, resource, field: Some(field), value, limit }).await
    }
}

impl CapabilityRun {
    fn check_indexed(&self, resource: &str, field: &str) -> Result<(), Failure> {
        let mut indexes = self.grants.records.iter().flat_map(|grant| &grant.indexes);
        if indexes.any(|index| index.resource == resource && index.field == field) {
            return Ok(());
        }
        let (resource, field) = (clip(resource, MAX_KEY), clip(field, MAX_KEY));
        Err(permanent(
            "not_indexed",
            format!(
                "`{field}` of `{resource}` is not indexed: the manifest must ask for it \
                 (`{{\"resource\": \"{resource}\", \"field\": \"{field}\"}}` in `indexes` under `records`)"
            ),
        ))
    }

    async fn find_records(&mut self, lookup: RecordLookup) -> Result<Vec<Found>, Failure> {
        let texts = [&lookup.source, &lookup.resource, &lookup.value];
        if texts.iter().any(|text| text.len() > MAX_KEY || !is_storable(text)) {
            // No stored record has such a name or value.
            return Ok(Vec::new());
        }
        let name = format!("{lookup:?}");
        if let Some(found) = self.looked_up.get(&name) {
            return Ok(found.iter().map(wire).collect());
        }
        if self.record_bytes_left == 0 {
            return Err(too_many_bytes());
        }
        if self.looked_up.len() >= MAX_LOOKUPS {
            let message = format!("more than {MAX_LOOKUPS} look-ups of records in one run");
            return Err(permanent("limit", message));
        }
        let found = match &self.store {
            Some(RunStore::Case(case)) => case.find_records(&lookup),
            Some(RunStore::Server(store)) => {
                let being_filled = || {
                    let resource = &lookup.resource;
                    retryable("unavailable", format!("an index on `{resource}` is being filled"))
                };
                let records = store.look_up_records(&lookup, self.record_bytes_left);
                look_up(records).await?.ok_or_else(being_filled)?
            }
            None => Vec::new(),
        };
        self.count_bytes(&found)?;
        let given = found.iter().map(wire).collect();
        self.looked_up.insert(name, found);
        Ok(given)
    }

    /// Counts the bytes of records that were read. After the limit is exceeded nothing is left, or
    /// a module that ignores the failure could have the same records read again and again.
    fn count_bytes(&mut self, found: &[FoundRecord]) -> Result<(), Failure> {
        let read: usize = found.iter().map(FoundRecord::size).sum();
        let left = self.record_bytes_left.checked_sub(read);
        self.record_bytes_left = left.unwrap_or_default();
        left.map(drop).ok_or_else(too_many_bytes)
    }
}

fn too_many_bytes() -> Failure {
    permanent("limit", format!("more than {MAX_RECORD_BYTES} bytes of records in one run"))
}

fn wire(found: &FoundRecord) -> Found {
    Found {
        id: found.id.clone(),
        updated_at: found.updated_at.to_string(),
        data: found.data.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::capability_grants::CapabilityGrants;
    use crate::time::timestamp::Timestamp;

    #[tokio::test]
    async fn a_run_reads_records_up_to_a_number_of_bytes() {
        let mut run = CapabilityRun::of_grants(CapabilityGrants::default());
        let record = |bytes: usize| {
            let data = "x".repeat(bytes);
            [FoundRecord { id: String::new(), updated_at: Timestamp::default(), data }]
        };
        assert!(run.count_bytes(&record(MAX_RECORD_BYTES - 1)).is_ok());
        let Err(Failure::Permanent(reason)) = run.count_bytes(&record(2)) else {
            panic!("they are taken")
        };
        assert_eq!(reason.code, "limit");
        let lookup = RecordLookup {
            source: "crm".to_owned(),
            resource: "invoice".to_owned(),
            field: None,
            value: "1".to_owned(),
            limit: 1,
        };
        assert!(run.find_records(lookup).await.is_err(), "nothing more is read after that");
    }
}
