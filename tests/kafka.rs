//! The Kafka suite against librdkafka's in-process cluster: no broker is needed, and what it cannot show
//! (identity, transactions, compaction, security) is left to `tests/broker.rs`.

mod kafka_suite;

use kafka_suite::tools::*;
use kafka_suite::{Cluster, Fragile, basics, faults, outgoing, positions};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use skewd::example::{Positions, Record};
use skewd::stream::kafka::{KafkaSource, OnGap};
use skewd::stream::{Error, Halt, Source};

struct Mock(MockCluster<'static, DefaultProducerContext>);

impl Mock {
    fn new() -> Self {
        Self(MockCluster::new(1).expect("an in-process cluster"))
    }
}

impl Cluster for Mock {
    fn brokers(&self) -> String {
        self.0.bootstrap_servers()
    }

    fn create_topic(&self, topic: &str, partitions: i32) {
        self.0.create_topic(topic, partitions, 1).expect("a topic");
    }
}

impl Fragile for Mock {
    fn take_down(&self) {
        self.0.broker_down(-1).expect("down");
    }

    fn bring_up(&self) {
        self.0.broker_up(-1).expect("up");
    }
}

/// Makes a test of each function of the suite.
macro_rules! suite {
    ($($module:ident :: $name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            $module::$name(&Mock::new());
        })*
    };
}

suite! {
    basics::every_record_of_every_partition_arrives_once_and_in_order,
    basics::a_backlog_comes_mixed_over_its_partitions,
    basics::keys_headers_empty_values_and_tombstones_arrive_as_they_were,
    basics::starting_at_the_end_reads_only_what_comes_later,
    basics::a_slow_caller_bounds_what_waits_in_memory,
    basics::checking_tells_what_is_there,
    positions::stops_at_any_record_lose_nothing_and_repeat_nothing,
    positions::offset_zero_is_a_position_like_any_other,
    positions::a_log_that_ends_before_the_position_halts,
    positions::a_partition_that_has_disappeared_halts,
    positions::another_cluster_or_topic_halts,
    positions::a_missing_topic_is_awaited_and_read_once_it_is_there,
    positions::group_offsets_follow_the_checkpoint,
    outgoing::dead_letters_arrive_unchanged_with_their_reason,
    outgoing::a_dead_letter_larger_than_its_topic_takes_is_cut_and_says_so,
    outgoing::dead_letters_that_cannot_be_written_are_bounded,
    outgoing::dead_letters_wait_on_disk_while_brokers_are_away_and_go_out_in_order,
    outgoing::more_dead_letters_than_memory_and_disk_take_are_refused_and_none_is_lost,
    outgoing::produced_records_arrive_with_java_s_partitions,
    outgoing::producing_names_what_is_wrong,
}

#[test]
fn a_source_may_start_before_its_broker() {
    faults::a_source_may_start_before_its_broker(&Mock::new(), "early");
}

#[test]
fn brokers_that_go_and_come_lose_nothing() {
    faults::brokers_that_go_and_come_lose_nothing(&Mock::new(), "flapping", 3);
}

/// Writes 8,000 records of 1 kB: more than the 5 MiB that this cluster keeps. Returns the oldest offset left.
fn overfill(mock: &Mock, topic: &str) -> i64 {
    mock.create_topic(topic, 1);
    let filler = Filler::new(mock, topic);
    for _ in 0..8000 {
        filler.send(0, None, Some(&[b'x'; 1000]), None);
    }
    filler.flush();
    let consumer: rdkafka::consumer::BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", mock.brokers())
        .create()
        .expect("a consumer");
    let (low, high) = rdkafka::consumer::Consumer::fetch_watermarks(&consumer, topic, 0, PATIENCE)
        .expect("bounds");
    assert!(low > 1000 && high == 8000, "{low}..{high}");
    low
}

#[test]
fn records_lost_to_retention_halt_with_the_exact_range() {
    let mock = Mock::new();
    let low = overfill(&mock, "gap");
    let mut source = open(&settings(&mock, "gap"), &positions_of(1000));
    let (records, error) = read_until_error(&mut source);
    assert!(records.is_empty());
    let expected = Halt::Gap {
        partition: 0,
        have: 1000,
        low,
    };
    assert!(
        matches!(&error, Error::Halt(halt) if *halt == expected),
        "{error}"
    );
    assert!(
        error.to_string().contains(&format!("{} lost", low - 1000)),
        "{error}"
    );
    assert_eq!(source.status().state, "halted");
}

#[test]
fn a_gap_that_is_allowed_goes_on_at_the_oldest_record_and_is_counted() {
    let mock = Mock::new();
    let low = overfill(&mock, "allowed");
    let mut settings = settings(&mock, "allowed");
    settings.on_gap = OnGap::Continue;
    let mut source = open(&settings, &positions_of(1000));
    let records = read(&mut source, usize::try_from(8000 - low).expect("positive"));
    assert_eq!(records[0].offset, low);
    assert_eq!(source.counts().lost_to_gaps, (low - 1000).unsigned_abs());
    assert_eq!(source.counts().holes, 0);
}

#[test]
fn a_position_at_the_oldest_record_is_no_gap() {
    let mock = Mock::new();
    let low = overfill(&mock, "edge");
    let records = read(&mut open(&settings(&mock, "edge"), &positions_of(low)), 10);
    assert_eq!(records[0].offset, low);
}

/// Reads some records, lets retention pass the position while the source reads no further, and goes on.
fn overtake(mock: &Mock, topic: &str, on_gap: OnGap) -> (KafkaSource, Vec<Record>) {
    mock.create_topic(topic, 2);
    fill(mock, topic, 2, 10);
    let mut settings = settings(mock, topic);
    settings.on_gap = on_gap;
    let mut source = open(&settings, &Positions::default());
    let records = read(&mut source, 20);
    mock.take_down();
    poll_until(&mut source, "degraded", |source| {
        source.status().state == "degraded"
    });
    mock.bring_up();
    let filler = Filler::new(mock, topic);
    // Every fetch is refused until the log has moved on.
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE; 1];
    mock.0.request_errors(RDKafkaApiKey::Fetch, &refused);
    filler.fill(1, 10..20);
    (source, records)
}

#[test]
fn a_position_refused_while_running_but_still_in_range_goes_on_without_loss() {
    let mock = Mock::new();
    let (mut source, records) = overtake(&mock, "refused", OnGap::Halt);
    let mut held = Positions::default();
    learn(&mut held, &records);
    learn(&mut held, &read(&mut source, 10));
    assert_eq!(held, positions(&[(0, 10), (1, 20)]));
    Filler::new(&mock, "refused").fill(0, 10..15);
    learn(&mut held, &read(&mut source, 5));
    assert_eq!(source.counts().repeated, 0);
}

#[test]
fn errors_of_single_requests_heal_without_loss() {
    let mock = Mock::new();
    mock.create_topic("errors", 2);
    fill(&mock, "errors", 2, 100);
    let mut source = open(&settings(&mock, "errors"), &Positions::default());
    let mut held = Positions::default();
    learn(&mut held, &read(&mut source, 200));
    use RDKafkaRespErr::*;
    let errors = [
        RD_KAFKA_RESP_ERR__TRANSPORT,
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
        RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH,
        RD_KAFKA_RESP_ERR__TRANSPORT,
    ];
    mock.0.request_errors(RDKafkaApiKey::Fetch, &errors);
    mock.0
        .request_errors(RDKafkaApiKey::Metadata, &[RD_KAFKA_RESP_ERR__TRANSPORT; 2]);
    let filler = Filler::new(&mock, "errors");
    filler.fill(0, 100..200);
    filler.fill(1, 100..200);
    learn(&mut held, &read(&mut source, 200));
    assert_eq!(held, positions(&[(0, 200), (1, 200)]));
}

#[test]
fn a_topic_that_errs_while_running_is_said_and_goes_on_once_it_heals() {
    let mock = Mock::new();
    mock.create_topic("sick", 1);
    fill(&mock, "sick", 1, 5);
    let mut source = open(&settings(&mock, "sick"), &Positions::default());
    read(&mut source, 5);
    mock.0
        .topic_error(
            "sick",
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        )
        .expect("an error");
    poll_until(&mut source, "degraded", |source| {
        let status = source.status();
        status.state == "degraded" && status.detail.contains("uthoriz")
    });
    mock.0
        .topic_error("sick", RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR)
        .expect("no error");
    poll_until(&mut source, "running", |source| {
        source.status().state == "running"
    });
    Filler::new(&mock, "sick").fill(0, 5..8);
    assert_eq!(read(&mut source, 3)[0].offset, 5);
}

#[test]
fn a_source_is_dropped_in_time_while_its_broker_is_away() {
    let mock = Mock::new();
    mock.create_topic("dropped", 1);
    fill(&mock, "dropped", 1, 5);
    let mut source = open(&settings(&mock, "dropped"), &Positions::default());
    read(&mut source, 5);
    mock.take_down();
    source.checkpointed(&positions_of(5)).expect("noted");
    drop(source);
}

fn positions_of(next: i64) -> Positions {
    positions(&[(0, next)])
}
