//! The headers of a dead letter, by the names that Kafka Connect gives them: one list for the topic and for the file.

use crate::example::Record;

/// Names and values, in their order.
pub(super) fn headers(
    topic: &str,
    record: &Record,
    reason: &str,
    detail: &str,
) -> [(&'static str, String); 8] {
    [
        ("__connect.errors.topic", topic.to_owned()),
        ("__connect.errors.partition", record.partition.to_string()),
        ("__connect.errors.offset", record.offset.to_string()),
        ("__connect.errors.connector.name", "skewd".to_owned()),
        ("__connect.errors.task.id", "0".to_owned()),
        // Kafka Connect's name of the stage in which a value is taken apart.
        ("__connect.errors.stage", "VALUE_CONVERTER".to_owned()),
        ("__connect.errors.exception.class.name", reason.to_owned()),
        ("__connect.errors.exception.message", detail.to_owned()),
    ]
}
