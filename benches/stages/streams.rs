//! The streams as a source of records: the embedded log, and Kafka beside librdkafka alone.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use skewd::example::{Positions, Record};
use skewd::stream::Source;
use skewd::stream::embedded::EmbeddedLog;
use skewd::stream::kafka::{KafkaSource, Settings};

use super::records::{Form, Records};
use super::{Contestant, Failure, race};

/// Records of a block, as a batch over HTTP has them.
const BLOCK: usize = 1000;
/// The in-process cluster keeps 5 MB a partition.
const PARTITIONS: usize = 12;
const A_PARTITION: usize = 8_000;
const TOPIC: &str = "records";

/// Takes so many records.
fn read_all(source: &mut impl Source, count: usize) {
    let mut out: Vec<Record> = Vec::new();
    let mut left = count;
    while left > 0 {
        out.clear();
        source
            .poll(Duration::from_secs(1), 2048, &mut out)
            .expect("records");
        left -= out.len();
        black_box(&out);
    }
}

/// The embedded log, written in blocks of a thousand and read from the page cache.
pub fn embedded(rounds: usize, records: &Records) -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("log");
    let log = EmbeddedLog::open(&path, 1 << 40)?;
    let payloads = records.bytes(Form::Flat);
    for block in payloads.chunks(BLOCK) {
        let block = block.iter().map(|bytes| Bytes::copy_from_slice(bytes));
        log.append_blocking(block.collect())?;
    }
    let count = records.len();
    let copy = |payload: &Vec<u8>| Bytes::copy_from_slice(payload);
    race(
        "read JSON from the embedded log in memory",
        rounds,
        &mut [
            Contestant::new("skewd: records of the log", count, || {
                let mut source = log.reader(0).expect("the first record");
                read_all(&mut source, count);
            }),
            Contestant::new("a copy of each payload, a vector each", count, || {
                black_box(payloads.iter().map(copy).collect::<Vec<_>>());
            }),
            Contestant::new("the whole file at once", count, || {
                black_box(std::fs::read(&path).expect("a file"));
            }),
        ],
    );
    Ok(())
}

/// Time on processors of every thread of this process but those of the in-process cluster, in seconds.
fn used_by_consumers() -> Result<f64, Failure> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        let read = |name| std::fs::read_to_string(task.join(name));
        // One that ends meanwhile is of a client of before.
        let (Ok(comm), Ok(text)) = (read("comm"), read("schedstat")) else {
            continue;
        };
        if !comm.starts_with("rdk:mock") {
            nanoseconds += text.split(' ').next().unwrap_or("0").parse::<u64>()?;
        }
    }
    Ok(nanoseconds as f64 * 1e-9)
}

/// Who is begun, which starts its threads, and then takes every record of the topic.
type Reader = Box<dyn FnMut(usize)>;
type Begin<'a> = Box<dyn Fn() -> Result<Reader, Failure> + 'a>;

/// Librdkafka's client by its Rust interface, and nothing done with the records.
fn begin_alone(brokers: &str) -> Result<Reader, Failure> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "alone")
        .set("enable.auto.commit", "false")
        .create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(TOPIC, partition as i32, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    Ok(Box::new(move |count| {
        let mut left = count;
        while left > 0 {
            if let Some(message) = consumer.poll(Duration::from_secs(1)) {
                let message = message.expect("a record");
                black_box(message.payload().map(<[u8]>::len));
                left -= 1;
            }
        }
    }))
}

fn begin_skewd(brokers: &str) -> Result<Reader, Failure> {
    let settings = Settings {
        brokers: brokers.to_owned(),
        topic: TOPIC.to_owned(),
        ..Settings::default()
    };
    let mut source = KafkaSource::open(&settings, &Positions::default(), None)
        .map_err(|(key, why)| format!("kafka.{key}: {why}"))?;
    Ok(Box::new(move |count| read_all(&mut source, count)))
}

/// Kafka, from librdkafka's in-process cluster: all threads of the client count, those of the cluster do not.
pub fn kafka(rounds: usize) -> Result<(), Failure> {
    let count = PARTITIONS * A_PARTITION;
    let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1)?;
    cluster.create_topic(TOPIC, PARTITIONS as i32, 1)?;
    let brokers = cluster.bootstrap_servers();
    fill(&brokers, &Records::new(A_PARTITION, false))?;
    let begin: [(&str, Begin<'_>); 2] = [
        (
            "skewd: records of a topic",
            Box::new(|| begin_skewd(&brokers)),
        ),
        (
            "librdkafka alone, a record a call",
            Box::new(|| begin_alone(&brokers)),
        ),
    ];
    let mut best = [(f64::INFINITY, f64::INFINITY); 2];
    for _ in 0..rounds {
        for ((_, begin), best) in begin.iter().zip(&mut best) {
            let (used, started) = (used_by_consumers()?, Instant::now());
            let mut reader = begin()?;
            reader(count);
            let wall = started.elapsed().as_secs_f64();
            // Before its threads end, and their times with them.
            let used = used_by_consumers()? - used;
            *best = (best.0.min(used), best.1.min(wall));
        }
    }
    println!("\nread JSON from Kafka (in-process cluster; start and end of the client included)");
    for ((name, _), (used, wall)) in begin.iter().zip(best) {
        println!(
            "  {name:<52} {:>9.1} ns {:>11.0} /s of the clock {:>7.2} x",
            used / count as f64 * 1e9,
            count as f64 / wall,
            best[0].0 / used,
        );
    }
    Ok(())
}

fn fill(brokers: &str, records: &Records) -> Result<(), Failure> {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("linger.ms", "20")
        .create()?;
    for partition in 0..PARTITIONS {
        for payload in records.bytes(Form::Flat) {
            let record = BaseRecord::<(), [u8]>::to(TOPIC)
                .partition(partition as i32)
                .payload(&payload);
            producer.send(record).map_err(|(error, _)| error)?;
        }
        producer.flush(Duration::from_secs(30))?;
    }
    Ok(())
}
