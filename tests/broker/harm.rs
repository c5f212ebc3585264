//! What is done to a broker while it runs.

use std::fs;
use std::process::Command;

use crate::cluster::Broker;

impl Broker {
    /// Stops the broker in its tracks, connections and all, as a machine that swaps or a stalled virtual machine would.
    pub fn hang(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn wake(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = fs::read_to_string(self.path("broker.pid")).unwrap();
        let status = Command::new("kill").args([signal, pid.trim()]).status();
        assert!(status.unwrap().success());
    }

    /// Flips a bit of what the broker has stored, in the first place of the topic's only partition where `text` stands.
    pub fn flip(&self, topic: &str, text: &str) {
        use std::os::unix::fs::FileExt as _;
        let path = self.path("data").join(format!("{topic}-0"));
        let log = fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|extension| extension == "log"))
            .unwrap();
        let data = fs::read(&log).unwrap();
        let at = data
            .windows(text.len())
            .position(|window| window == text.as_bytes())
            .unwrap();
        let file = fs::OpenOptions::new().write(true).open(&log).unwrap();
        file.write_all_at(&[data[at] ^ 1], at as u64).unwrap();
    }
}
