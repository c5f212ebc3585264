//! What the system lets the process have.

/// File descriptors beside those of connections: the log, checkpoints, the journal, Kafka.
const OTHERS: u64 = 256;

/// Raises the soft limit of open files to the hard one, and says where it is too low for what the settings allow.
pub(super) fn raise_open_files(max_connections: usize) {
    let open_files = match rlimit::increase_nofile_limit(rlimit::INFINITY) {
        Ok(open_files) => open_files,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files could not be raised");
            return;
        }
    };
    // Both listeners have the limit of the settings.
    let wanted = 2 * max_connections as u64 + OTHERS;
    if open_files < wanted {
        tracing::warn!(
            open_files,
            wanted,
            "fewer files may be open than http.max_connections would need on both listeners: raise the hard limit \
             (ulimit -Hn, LimitNOFILE), or lower http.max_connections"
        );
    }
}
