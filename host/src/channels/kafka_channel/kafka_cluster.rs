//! A cluster of brokers, as a producer sees it: who leads which partition, and a connection to each
//! broker that is needed.
//!
//! Brokers announce the addresses at which they want to be reached. Each is dialled as the address
//! of the endpoint is: only if deliveries may go to it, and with a certificate for its name.

use super::broker_line::BrokerLine;
use super::kafka_calls::{
    AnnouncedBroker, ProducerIdentity, TopicLeaders, ask_identity, ask_topic, read_identity,
    read_topic,
};
use super::kafka_fault::refusal;
use super::kafka_login::KafkaLogin;
use super::wire::{INIT_PRODUCER_ID, METADATA};
use crate::channels::pipe::ServerPlace;
use crate::channels::publish::PublishError;
use crate::channels::session::SessionKeeper;
use crate::net::error_class::ErrorClass;
use crate::net::http_client::DeliveryClient;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

/// Time for which the partitions of a topic are remembered. An operator may add some.
const REMEMBERED: Duration = Duration::from_mins(5);
/// Most topics that are remembered, and most brokers.
const MOST: usize = 1_000;
/// Number of times that a cluster is asked for an identity while it is starting, and the wait.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);
/// Codes of a cluster that is not ready: its coordinator is loading, is not there, or has moved.
const NOT_READY: [i16; 3] = [14, 15, 16];

/// The cluster of one endpoint.
#[derive(Debug)]
pub struct KafkaCluster {
    login: Arc<KafkaLogin>,
    client: DeliveryClient,
    /// The connection for questions, to whichever broker of the settings answers.
    first: SessionKeeper<BrokerLine>,
    known: Mutex<KnownCluster>,
}

#[derive(Debug, Default)]
struct KnownCluster {
    topics: HashMap<String, (Instant, Arc<TopicLeaders>)>,
    brokers: HashMap<i32, Arc<KnownBroker>>,
}

#[derive(Debug)]
struct KnownBroker {
    announced: AnnouncedBroker,
    line: SessionKeeper<BrokerLine>,
}

impl KafkaCluster {
    /// Returns a cluster to which no connection is open.
    pub fn new(login: Arc<KafkaLogin>, client: DeliveryClient) -> Self {
        let (first, known) = (SessionKeeper::default(), Mutex::default());
        Self { login, client, first, known }
    }

    /// Returns a connection to a broker of the settings: the first of them that can be reached.
    async fn any_line(&self) -> Result<Arc<BrokerLine>, PublishError> {
        let opening = async {
            let mut failed = None;
            for place in &self.login.places {
                match self.login.connect(&self.client, place).await {
                    Ok(connection) => return Ok(BrokerLine::open(connection)),
                    Err(why) => failed = failed.or(Some(why)),
                }
            }
            Err(failed.unwrap_or_else(|| PublishError::protocol("no broker is named")))
        };
        self.first.get_or_open(opening).await
    }

    /// Connects, and asks for an identity if repeats shall be recognised.
    pub async fn ask_identity(
        &self,
        is_idempotent: bool,
    ) -> Result<ProducerIdentity, PublishError> {
        let mut tries = 0;
        loop {
            let line = self.any_line().await?;
            if !is_idempotent {
                return Ok(ProducerIdentity::NONE);
            }
            tries += 1;
            match read_identity(line.ask(INIT_PRODUCER_ID, ask_identity).await?)? {
                Ok(identity) => return Ok(identity),
                Err(code) if NOT_READY.contains(&code) && tries < TRIES => sleep(PAUSE).await,
                Err(code) => return Err(refusal(code, "the cluster", "")),
            }
        }
    }

    /// Returns the partitions of a topic.
    pub async fn find_leaders(&self, topic: &str) -> Result<Arc<TopicLeaders>, PublishError> {
        // Other deliveries wait here, so that a topic is asked for once.
        let mut known = self.known.lock().await;
        let remembered = known.topics.get(topic).filter(|(at, _)| at.elapsed() < REMEMBERED);
        if let Some((_, leaders)) = remembered {
            return Ok(Arc::clone(leaders));
        }
        let line = self.any_line().await?;
        let answer = read_topic(line.ask(METADATA, |body| ask_topic(body, topic)).await?, topic)?;
        let leaders = answer.topic.map_err(|code| refusal(code, topic, ""))?;
        if known.topics.len() >= MOST || known.brokers.len() >= MOST {
            *known = KnownCluster::default();
        }
        for broker in answer.brokers.into_iter().take(MOST) {
            known.meet(broker);
        }
        let leaders = Arc::new(leaders);
        known.topics.insert(topic.to_owned(), (Instant::now(), Arc::clone(&leaders)));
        Ok(leaders)
    }

    /// Forgets the partitions of a topic, because one of them has another leader.
    pub async fn forget_leaders(&self, topic: &str) {
        self.known.lock().await.topics.remove(topic);
    }

    /// Returns a connection to the broker that leads a partition.
    pub async fn find_leader(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<Arc<BrokerLine>, PublishError> {
        let leaders = self.find_leaders(topic).await?;
        let leader = usize::try_from(partition).ok().and_then(|n| leaders.leaders.get(n));
        let broker = match leader {
            Some(Some(node)) => self.known.lock().await.brokers.get(node).map(Arc::clone),
            Some(None) | None => None,
        };
        let broker = broker.ok_or_else(|| refusal(5, topic, ""))?;
        let opening = async {
            let place = broker.place(self.login.is_secure());
            let connection = self.login.connect(&self.client, &place).await;
            let connection = connection.map_err(|why| broker.explain(&why))?;
            Ok(BrokerLine::open(connection))
        };
        broker.line.get_or_open(opening).await
    }
}

impl KnownCluster {
    fn meet(&mut self, announced: AnnouncedBroker) {
        let is_known = |broker: &Arc<KnownBroker>| broker.announced == announced;
        if !self.brokers.get(&announced.node).is_some_and(is_known) {
            let node = announced.node;
            let broker = KnownBroker { announced, line: SessionKeeper::default() };
            self.brokers.insert(node, Arc::new(broker));
        }
    }
}

impl KnownBroker {
    fn place(&self, is_secure: bool) -> ServerPlace {
        let AnnouncedBroker { host, port, .. } = &self.announced;
        let is_bare_v6 = host.contains(':') && !host.starts_with('[');
        let host = if is_bare_v6 { format!("[{host}]") } else { host.clone() };
        ServerPlace { host, port: *port, is_secure, path: String::new() }
    }

    /// Says of a failed connection where its address comes from, because no setting names it.
    fn explain(&self, why: &PublishError) -> PublishError {
        let AnnouncedBroker { host, port, .. } = &self.announced;
        let host: String = host.chars().filter(|c| !c.is_control()).take(255).collect();
        let hint = if why.class == ErrorClass::AddressForbidden {
            "; permit its network, or correct advertised.listeners"
        } else {
            ""
        };
        let detail =
            format!("the cluster announces the broker {host}:{port}: {}{hint}", why.detail);
        PublishError { class: why.class, detail }
    }
}
