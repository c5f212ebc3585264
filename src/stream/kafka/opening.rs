//! What is looked at before a record is read: the topic, its identity, its partitions, their bounds.

use std::fmt;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::client::{Consumer, Context, Role, Stray, client_config, explain};
use super::fetch::record_of;
use super::topic_id::fetch_topic_id;
use super::{OnGap, Settings, Start};
use crate::example::Positions;
use crate::stream::Halt;

/// How long a broker may take to answer a question.
const ANSWER: Duration = Duration::from_secs(5);

/// How long a broker may take to tell a topic's ID; some never do.
const ID_ANSWER: Duration = Duration::from_secs(2);

/// A log that seems to end too early is looked at this often before training halts: right after a
/// restart a broker may not know its end yet.
const LOOKS: u32 = 4;

const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// So many events are served at once; asking for one that is not there costs less than a microsecond.
const EVENTS: u32 = 32;

/// Why a topic could not be opened.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Training must stop.
    Halt(Halt),
    /// It may pass: try again.
    Retry(String),
}

/// Which topic of which cluster this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub cluster: Option<String>,
    pub topic: String,
    pub id: Option<String>,
}

impl Identity {
    /// Reads what [`fmt::Display`] wrote; `None` for anything else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (cluster, topic) = text.strip_prefix("kafka:")?.split_once('/')?;
        let (topic, id) = match topic.split_once('#') {
            Some((topic, id)) => (topic, Some(id.to_owned())),
            None => (topic, None),
        };
        Some(Self {
            cluster: (!cluster.is_empty()).then(|| cluster.to_owned()),
            topic: topic.to_owned(),
            id,
        })
    }

    /// True unless both tell something and it differs.
    pub(super) fn may_be(&self, other: &Self) -> bool {
        let agree = |mine: &Option<String>, theirs: &Option<String>| match (mine, theirs) {
            (Some(mine), Some(theirs)) => mine == theirs,
            _ => true,
        };
        self.topic == other.topic
            && agree(&self.cluster, &other.cluster)
            && agree(&self.id, &other.id)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cluster = self.cluster.as_deref().unwrap_or_default();
        write!(formatter, "kafka:{cluster}/{}", self.topic)?;
        match &self.id {
            Some(id) => write!(formatter, "#{id}"),
            None => Ok(()),
        }
    }
}

/// Where reading of a partition begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Begin {
    pub partition: i32,
    /// The caller's position, if it came with one.
    pub saved: Option<i64>,
    pub next: i64,
    pub high: i64,
    /// Records lost to retention that `on_gap = "continue"` passes over.
    pub lost: i64,
}

/// A topic whose positions were found to be good.
#[derive(Debug)]
pub(super) struct Opened {
    pub identity: Identity,
    /// A broker that answers questions about it.
    pub broker: i32,
    pub partitions: Vec<Begin>,
}

/// Creates the client that asks questions.
pub(super) fn probe(settings: &Settings) -> Result<Consumer, (String, String)> {
    client_config(settings, Role::Probe)?
        .create_with_context(Context::default())
        .map_err(|error| ("properties".to_owned(), explain(&error)))
}

/// Looks at the topic and finds where to begin.
pub(super) fn open(
    client: &Consumer,
    settings: &Settings,
    saved: &Positions,
    expected: Option<&str>,
    stopping: &dyn Fn() -> bool,
) -> Result<Opened, Trouble> {
    let topic = describe(client, settings)?;
    let identity = identify(client, settings, &topic);
    check_identity(&identity, expected).map_err(Trouble::Halt)?;
    if identity.id.is_none()
        && expected
            .and_then(Identity::parse)
            .is_some_and(|it| it.id.is_some())
    {
        return Err(Trouble::Retry(untold(settings)));
    }
    if let Some((lost, _)) = saved.0.range(topic.partitions..).next() {
        return Err(Trouble::Halt(Halt::PartitionLost {
            topic: settings.topic.clone(),
            partition: *lost,
        }));
    }
    let mut partitions = Vec::new();
    for partition in 0..topic.partitions {
        if stopping() {
            return Err(Trouble::Retry("stopping".to_owned()));
        }
        partitions.push(begin(client, settings, saved, partition)?);
    }
    Ok(Opened {
        identity,
        broker: topic.broker,
        partitions,
    })
}

/// What the brokers say about the topic.
pub(super) struct Topic {
    pub partitions: i32,
    /// A broker that answers questions.
    pub broker: i32,
    /// `host:port` of every broker.
    brokers: Vec<String>,
}

/// Asks for the topic; `allow.auto.create.topics=false` sees to it that asking does not create it.
pub(super) fn describe(client: &Consumer, settings: &Settings) -> Result<Topic, Trouble> {
    let topic = &settings.topic;
    let answer = client.fetch_metadata(Some(topic), ANSWER);
    serve(client);
    let metadata = answer.map_err(|error| {
        let heard = client.context().main_complaint();
        let reason = heard.unwrap_or_else(|| explain(&error));
        Trouble::Retry(format!("no answer from {} ({reason})", settings.brokers))
    })?;
    let missing = || {
        Trouble::Retry(
            Halt::TopicMissing {
                topic: topic.clone(),
            }
            .to_string(),
        )
    };
    let facts = metadata.topics().first().ok_or_else(missing)?;
    match facts.error().map(RDKafkaErrorCode::from) {
        Some(RDKafkaErrorCode::UnknownTopicOrPartition) => return Err(missing()),
        Some(code) => return Err(Trouble::Retry(format!("topic {topic:?}: {code}"))),
        None if facts.partitions().is_empty() => return Err(missing()),
        None => {}
    }
    let known: Vec<i32> = metadata
        .brokers()
        .iter()
        .map(|broker| broker.id())
        .collect();
    let leaders = facts
        .partitions()
        .iter()
        .map(|partition| partition.leader());
    Ok(Topic {
        partitions: i32::try_from(facts.partitions().len()).unwrap_or(i32::MAX),
        broker: leaders
            .chain(known.iter().copied())
            .find(|broker| known.contains(broker))
            .unwrap_or_default(),
        brokers: metadata
            .brokers()
            .iter()
            .map(|broker| format!("{}:{}", broker.host(), broker.port()))
            .collect(),
    })
}

/// Serves what librdkafka wants to tell: complaints, statistics, answers to commits, log lines.
pub(super) fn serve(client: &Consumer) {
    let mut quiet = 0;
    while quiet < EVENTS {
        // It answers nothing both when there was nothing and when there was an event for the context.
        match client.poll(Duration::ZERO) {
            None => quiet += 1,
            // Fetched between the assignment and the split of its queue: the reader takes it before the queue.
            Some(Ok(message)) => {
                quiet = 0;
                client.context().keep(Stray::Record(record_of(&message)));
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                client.context().keep(Stray::End(partition));
            }
            Some(Err(error)) => {
                quiet += 1;
                if let Some(code) = error.rdkafka_error_code() {
                    client.context().keep(Stray::Error(code));
                }
            }
        }
    }
}

/// Why nothing is read although the topic is there.
pub(super) fn untold(settings: &Settings) -> String {
    format!(
        "no broker tells the ID of topic {:?}: waiting for it, to be sure that it is still the same topic",
        settings.topic
    )
}

/// Asks for cluster and topic ID; what brokers do not tell stays open.
pub(super) fn identify(client: &Consumer, settings: &Settings, topic: &Topic) -> Identity {
    Identity {
        cluster: client.client().fetch_cluster_id(ANSWER),
        topic: settings.topic.clone(),
        id: fetch_topic_id(client.client(), topic.broker, &settings.topic, ID_ANSWER),
    }
}

pub(super) fn check_identity(found: &Identity, expected: Option<&str>) -> Result<(), Halt> {
    match expected {
        Some(text) if !Identity::parse(text).is_some_and(|expected| expected.may_be(found)) => {
            Err(Halt::IdentityChanged {
                expected: text.to_owned(),
                found: found.to_string(),
            })
        }
        _ => Ok(()),
    }
}

/// Finds where to begin in one partition.
pub(super) fn begin(
    client: &Consumer,
    settings: &Settings,
    saved: &Positions,
    partition: i32,
) -> Result<Begin, Trouble> {
    let mut looks = 1;
    loop {
        let (low, high) = client
            .fetch_watermarks(&settings.topic, partition, ANSWER)
            .map_err(|error| {
                Trouble::Retry(format!(
                    "topic {:?}, partition {partition}: {}",
                    settings.topic,
                    explain(&error)
                ))
            })?;
        match place(settings, saved, partition, low, high) {
            Err(Halt::Truncated { .. }) if looks < LOOKS => {
                looks += 1;
                std::thread::sleep(BETWEEN_LOOKS);
            }
            answer => return answer.map_err(Trouble::Halt),
        }
    }
}

/// The rule of where to begin: the saved position; without any, what `start` says; in a partition that
/// was added later, 0.
fn place(
    settings: &Settings,
    saved: &Positions,
    partition: i32,
    low: i64,
    high: i64,
) -> Result<Begin, Halt> {
    let position = saved.next(partition);
    let have = match (position, settings.start) {
        (Some(have), _) => have,
        (None, _) if !saved.0.is_empty() => 0,
        (None, Start::Earliest) => low,
        (None, Start::Latest) => high,
    };
    if have > high {
        return Err(Halt::Truncated {
            partition,
            have,
            high,
        });
    }
    if have < low && settings.on_gap == OnGap::Halt {
        return Err(Halt::Gap {
            partition,
            have,
            low,
        });
    }
    Ok(Begin {
        partition,
        saved: position,
        next: have.max(low),
        high,
        lost: (low - have).max(0),
    })
}

/// Sees that the topic is there, without creating it.
pub(in crate::stream) fn see_topic(settings: &Settings) -> Result<(), String> {
    let client = probe(settings).map_err(|(key, reason)| format!("kafka.{key}: {reason}"))?;
    describe(&client, settings).map(|_| ()).map_err(in_words)
}

fn in_words(trouble: Trouble) -> String {
    match trouble {
        Trouble::Halt(halt) => halt.to_string(),
        Trouble::Retry(reason) => reason,
    }
}

/// What `skewd check` tells about Kafka.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// The cluster's ID, where brokers tell one.
    pub cluster: Option<String>,
    /// `host:port` of every broker.
    pub brokers: Vec<String>,
    /// The topic.
    pub topic: String,
    /// The topic's ID, where brokers tell one.
    pub topic_id: Option<String>,
    /// Its number of partitions.
    pub partitions: usize,
    /// Offsets between its oldest and its next record, over all partitions: at most so many records.
    pub records: i64,
}

/// Connects and looks at the brokers, the topic and the dead-letter topic.
///
/// # Errors
/// What is wrong and what to do, in words.
pub fn check_brokers(settings: &Settings) -> Result<Report, String> {
    let client = probe(settings).map_err(|(key, reason)| format!("kafka.{key}: {reason}"))?;
    let topic = describe(&client, settings).map_err(in_words)?;
    let mut records = 0;
    for partition in 0..topic.partitions {
        let (low, high) = client
            .fetch_watermarks(&settings.topic, partition, ANSWER)
            .map_err(|error| {
                format!(
                    "topic {:?}, partition {partition}: {}",
                    settings.topic,
                    explain(&error)
                )
            })?;
        records += high - low;
    }
    if !settings.dead_letter_topic.is_empty() {
        let dead_letters = Settings {
            topic: settings.dead_letter_topic.clone(),
            ..settings.clone()
        };
        describe(&client, &dead_letters).map_err(|trouble| {
            format!(
                "dead letters: {}",
                in_words(trouble).replace("kafka.topic", "kafka.dead_letter_topic")
            )
        })?;
    }
    let identity = identify(&client, settings, &topic);
    Ok(Report {
        cluster: identity.cluster,
        brokers: topic.brokers,
        topic: settings.topic.clone(),
        topic_id: identity.id,
        partitions: usize::try_from(topic.partitions).unwrap_or_default(),
        records,
    })
}

#[cfg(test)]
mod tests;
