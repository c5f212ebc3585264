//! The identity of a topic: the only thing that tells a topic from another one of the same name.
//!
//! The safe interface of `rdkafka` has no way to ask for it, so this file calls librdkafka itself. It is
//! the only file of the program that does; what it makes is freed before the client that it came from.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::client::Client;
use rdkafka::consumer::Consumer as _;

use super::Context;
use super::client::Consumer;

/// Owns a pointer of librdkafka's and the function that frees it.
struct Owned<T> {
    pointer: *mut T,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// `None` for a null pointer.
    fn new(pointer: *mut T, free: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        (!pointer.is_null()).then_some(Self { pointer, free })
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `pointer` came from the constructor that belongs to `free` and is freed once.
        unsafe { (self.free)(self.pointer) }
    }
}

/// Asks the broker with the number `broker` for the ID of `topic`, in base64 as Kafka's own tools print it.
///
/// `None` when there is no answer within `timeout`, when the topic does not exist, and on brokers that are
/// older than topic IDs.
pub(super) fn fetch_topic_id(
    client: &Client<Context>,
    broker: i32,
    topic: &str,
    timeout: Duration,
) -> Option<String> {
    let answers = ask(client, broker, topic, timeout)?;
    take_answer(&answers, timeout).flatten()
}

/// The same as a question whose answer is fetched later.
pub(super) struct Question {
    // Fields are dropped in order: the queue before the client that it belongs to.
    answers: Owned<native::rd_kafka_queue_t>,
    _client: Arc<Consumer>,
}

impl Question {
    /// Asks; `None` where librdkafka makes no queue for the answer.
    pub(super) fn ask(
        client: &Arc<Consumer>,
        broker: i32,
        topic: &str,
        timeout: Duration,
    ) -> Option<Self> {
        Some(Self {
            answers: ask(client.client(), broker, topic, timeout)?,
            _client: Arc::clone(client),
        })
    }

    /// The answer, as [`fetch_topic_id`] has it, once it is there; waits for it as long as `wait`.
    pub(super) fn answer(&self, wait: Duration) -> Option<Option<String>> {
        take_answer(&self.answers, wait)
    }
}

/// Sends the question; its answer, be it that time is up, comes into the queue.
fn ask(
    client: &Client<Context>,
    broker: i32,
    topic: &str,
    timeout: Duration,
) -> Option<Owned<native::rd_kafka_queue_t>> {
    let name = CString::new(topic).ok()?;
    // SAFETY: the client outlives this function and, as its callers see to it, the queue; every other pointer
    // is owned by an `Owned` that is dropped here. librdkafka copies the name and the options.
    unsafe {
        let kafka = client.native_ptr();
        let queue = Owned::new(
            native::rd_kafka_queue_new(kafka),
            native::rd_kafka_queue_destroy,
        )?;
        let options = Owned::new(
            native::rd_kafka_AdminOptions_new(
                kafka,
                native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            ),
            native::rd_kafka_AdminOptions_destroy,
        )?;
        let mut reason = [0; 256];
        // Left alone librdkafka would ask the controller, which not every cluster names. A refused option
        // only means that no answer comes in time.
        native::rd_kafka_AdminOptions_set_broker(
            options.pointer,
            broker,
            reason.as_mut_ptr(),
            reason.len(),
        );
        native::rd_kafka_AdminOptions_set_request_timeout(
            options.pointer,
            milliseconds(timeout),
            reason.as_mut_ptr(),
            reason.len(),
        );
        let mut names = [name.as_ptr()];
        let topics = Owned::new(
            native::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()),
            native::rd_kafka_TopicCollection_destroy,
        )?;
        native::rd_kafka_DescribeTopics(kafka, topics.pointer, options.pointer, queue.pointer);
        Some(queue)
    }
}

fn take_answer(
    answers: &Owned<native::rd_kafka_queue_t>,
    wait: Duration,
) -> Option<Option<String>> {
    // SAFETY: the queue lives as long as `answers`; the event is owned and dropped here.
    unsafe {
        let event = Owned::new(
            native::rd_kafka_queue_poll(answers.pointer, milliseconds(wait)),
            native::rd_kafka_event_destroy,
        )?;
        Some(topic_id_of(event.pointer))
    }
}

fn milliseconds(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

/// # Safety
/// `event` must be a live event.
unsafe fn topic_id_of(event: *mut native::rd_kafka_event_t) -> Option<String> {
    // SAFETY: librdkafka checks the type of the event; the result and all within it live as long as it does.
    unsafe {
        let result = native::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null()
            || native::rd_kafka_event_error(event)
                != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            return None;
        }
        let mut count = 0;
        let topics = native::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if topics.is_null() || count != 1 {
            return None;
        }
        let id = native::rd_kafka_TopicDescription_topic_id(*topics);
        let is_zero = id.is_null()
            || (native::rd_kafka_Uuid_most_significant_bits(id) == 0
                && native::rd_kafka_Uuid_least_significant_bits(id) == 0);
        if is_zero {
            return None;
        }
        let text = native::rd_kafka_Uuid_base64str(id);
        (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
    }
}
