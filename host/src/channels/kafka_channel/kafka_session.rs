//! The producer of one endpoint: its identity at the cluster, and a lane for each partition.

use super::kafka_cluster::KafkaCluster;
use super::kafka_fault::refusal;
use super::kafka_login::KafkaLogin;
use super::partition_lane::{BatchBounds, PartitionLane, SharedProducer};
use super::partitioner::choose_partition;
use super::record_batch::KafkaRecord;
use crate::channels::publish::{PublishError, PublishOutcome};
use crate::channels::session::QueueSession;
use crate::net::http_client::DeliveryClient;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Most partitions that are written to. A further one needs a new session.
const MOST_LANES: usize = 10_000;

/// An open producer.
#[derive(Debug)]
pub struct KafkaSession {
    shared: Arc<SharedProducer>,
    lanes: Mutex<HashMap<(String, i32), PartitionLane>>,
    /// Counts messages without a key, which go to all partitions in turn.
    keyless: AtomicUsize,
}

impl QueueSession for KafkaSession {
    fn is_open(&self) -> bool {
        !self.shared.is_over.load(Ordering::Relaxed)
    }
}

impl KafkaSession {
    /// Connects to a cluster and logs in.
    pub async fn open(
        login: Arc<KafkaLogin>,
        client: DeliveryClient,
        bounds: BatchBounds,
        is_idempotent: bool,
    ) -> Result<Self, PublishError> {
        let cluster = KafkaCluster::new(login, client);
        let identity = cluster.ask_identity(is_idempotent).await?;
        let shared = SharedProducer { cluster, identity, bounds, is_over: AtomicBool::new(false) };
        let lanes = Mutex::default();
        Ok(Self { shared: Arc::new(shared), lanes, keyless: AtomicUsize::new(0) })
    }

    /// Publishes a record and waits until all replicas in sync have it.
    pub async fn publish(&self, topic: &str, record: KafkaRecord) -> PublishOutcome {
        match self.find_lane(topic, record.key.as_deref()).await {
            Ok(lane) => lane.send(record).await,
            Err(why) => PublishOutcome::TryAgain(why),
        }
    }

    /// Returns the lane of a key's partition, or, without a key, the lane of the next partition
    /// that has a leader.
    async fn find_lane(
        &self,
        topic: &str,
        key: Option<&[u8]>,
    ) -> Result<PartitionLane, PublishError> {
        let found = self.shared.cluster.find_leaders(topic).await?;
        let count = found.leaders.len();
        let partition = if let Some(key) = key {
            choose_partition(key, count)
        } else {
            let from = self.keyless.fetch_add(1, Ordering::Relaxed);
            let mut turn = (0..count).filter_map(|n| from.wrapping_add(n).checked_rem(count));
            let led = turn.find(|n| found.leaders.get(*n).is_some_and(Option::is_some));
            led.ok_or_else(|| refusal(5, topic, ""))?
        };
        let partition = i32::try_from(partition).unwrap_or(i32::MAX);
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if lanes.len() >= MOST_LANES {
            self.shared.is_over.store(true, Ordering::Relaxed);
        }
        let lane = lanes.entry((topic.to_owned(), partition));
        let start = || PartitionLane::start(Arc::clone(&self.shared), topic, partition);
        Ok(lane.or_insert_with(start).clone())
    }
}
