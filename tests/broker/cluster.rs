//! One real broker on loopback: KRaft, one node, a folder of its own.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
#[cfg(feature = "tls")]
use std::path::Path;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::kafka_suite::{Cluster, Fragile};

const LIBS: &str = "SKEWD_TEST_BROKER_LIBS";
const START_WITHIN: Duration = Duration::from_secs(90);

/// User and password of the SASL listener.
pub const USER: (&str, &str) = ("skewd", "correct-horse-7");

pub struct Broker {
    libs: String,
    dir: tempfile::TempDir,
    plain: u16,
    secure: u16,
    process: Mutex<Option<Child>>,
}

fn free_ports<const N: usize>() -> [u16; N] {
    // All are bound before any is let go, so that they differ.
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

impl Broker {
    /// Formats a folder and starts a broker on it.
    pub fn start() -> Self {
        let libs = std::env::var(LIBS).unwrap_or_else(|_| {
            panic!("{LIBS} is not set: give the folder that `bash .ci/kafka-broker.sh` prints; without a broker nothing can be tested here")
        });
        let [plain, controller, secure] = free_ports();
        let broker = Self {
            libs,
            dir: tempfile::tempdir().unwrap(),
            plain,
            secure,
            process: Mutex::new(None),
        };
        broker.configure(controller);
        broker.format();
        broker.bring_up();
        broker
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn java(&self) -> Command {
        let mut java = Command::new("java");
        java.args(["-Xmx512m", "-XX:+UseSerialGC"])
            .arg(format!(
                "-Dlog4j2.configurationFile={}",
                self.path("log4j2.properties").display()
            ))
            .args(["-cp", &format!("{}/*", self.libs)]);
        java
    }

    fn configure(&self, controller: u16) {
        let (plain, secure) = (self.plain, self.secure);
        let log = self.path("broker.log");
        fs::write(
            self.path("log4j2.properties"),
            format!(
                "appender.file.type=File\nappender.file.name=file\nappender.file.fileName={}\n\
                 appender.file.layout.type=PatternLayout\nappender.file.layout.pattern=%d %p %c{{1}} %m%n\n\
                 rootLogger.level=WARN\nrootLogger.appenderRef.file.ref=file\n",
                log.display()
            ),
        )
        .unwrap();
        let mut properties = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller}@SECURE@\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{plain}@SECURE@\n\
             controller.listener.names=CONTROLLER\ncontroller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
             inter.broker.listener.name=PLAINTEXT\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL\n\
             log.dirs={}\nnum.partitions=1\nauto.create.topics.enable=false\ngroup.initial.rebalance.delay.ms=0\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=1\nshare.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\nlog.cleaner.backoff.ms=100\n\
             log.retention.check.interval.ms=1000\n",
            self.path("data").display()
        );
        let mut listener = String::new();
        if cfg!(feature = "tls") {
            self.make_certificates();
            listener = format!(",SASL_SSL://127.0.0.1:{secure}");
            properties.push_str(&format!(
                "sasl.enabled.mechanisms=SCRAM-SHA-512\n\
                 listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
                 ssl.keystore.type=PEM\nssl.keystore.location={}\nssl.client.auth=none\n",
                self.path("server.pem").display()
            ));
        }
        fs::write(
            self.path("server.properties"),
            properties.replace("@SECURE@", &listener),
        )
        .unwrap();
    }

    /// An authority, and a server's certificate for 127.0.0.1 that it signed.
    fn make_certificates(&self) {
        let openssl = |arguments: &[&str]| {
            let output = Command::new("openssl")
                .args(arguments)
                .current_dir(self.dir.path())
                .output()
                .expect("openssl is needed to make certificates");
            assert!(
                output.status.success(),
                "openssl {arguments:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        };
        for (name, subject) in [
            ("ca", "/CN=test authority"),
            ("other", "/CN=another authority"),
        ] {
            openssl(&[
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                subject,
                "-keyout",
                &format!("{name}.key"),
                "-out",
                &format!("{name}.pem"),
            ]);
        }
        openssl(&[
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=127.0.0.1",
            "-keyout",
            "server.key",
            "-out",
            "server.csr",
        ]);
        fs::write(
            self.path("names"),
            "subjectAltName=IP:127.0.0.1,DNS:localhost\n",
        )
        .unwrap();
        openssl(&[
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "names",
            "-out",
            "server.crt",
        ]);
        openssl(&[
            "pkcs8",
            "-topk8",
            "-nocrypt",
            "-in",
            "server.key",
            "-out",
            "server.p8",
        ]);
        let mut chain = fs::read(self.path("server.p8")).unwrap();
        chain.extend(fs::read(self.path("server.crt")).unwrap());
        chain.extend(fs::read(self.path("ca.pem")).unwrap());
        fs::write(self.path("server.pem"), chain).unwrap();
    }

    fn format(&self) {
        let scram = format!("SCRAM-SHA-512=[name={},password={}]", USER.0, USER.1);
        let output = self
            .java()
            .args([
                "kafka.tools.StorageTool",
                "format",
                "--standalone",
                "--add-scram",
                &scram,
            ])
            .args(["-t", "bm9ib2R5IGlzIGhlcmUhIQ", "-c"])
            .arg(self.path("server.properties"))
            .output()
            .expect("java is needed to run the broker");
        assert!(
            output.status.success(),
            "the broker's folder cannot be formatted: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Address of the SASL listener over TLS.
    #[cfg(feature = "tls")]
    pub fn secure_address(&self) -> String {
        format!("127.0.0.1:{}", self.secure)
    }

    /// The certificate of the authority that signed the broker's, or of one that did not.
    #[cfg(feature = "tls")]
    pub fn authority(&self, right: bool) -> PathBuf {
        self.path(if right { "ca.pem" } else { "other.pem" })
    }

    /// The last lines that the broker logged.
    pub fn log_end(&self) -> String {
        let text = [self.path("broker.log"), self.path("broker.out")]
            .iter()
            .filter_map(|path| fs::read_to_string(path).ok())
            .collect::<String>();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(50)..].join("\n")
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new()
            .set("bootstrap.servers", self.brokers())
            .create()
            .unwrap()
    }

    /// Creates a topic with settings of its own.
    pub fn create(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for (key, value) in settings {
            new = new.set(key, value);
        }
        let made = wait(self.admin().create_topics([&new], &AdminOptions::new())).unwrap();
        made[0].as_ref().unwrap();
        self.await_topic(topic, Some(partitions as usize));
    }

    /// Deletes a topic and waits until it is gone.
    pub fn delete(&self, topic: &str) {
        wait(self.admin().delete_topics(&[topic], &AdminOptions::new())).unwrap();
        self.await_topic(topic, None);
    }

    /// Deletes a topic and makes it again at once.
    pub fn make_anew(&self, topic: &str, partitions: i32) {
        let (admin, options) = (self.admin(), AdminOptions::new());
        wait(admin.delete_topics(&[topic], &options)).unwrap();
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let made = wait(admin.create_topics([&new], &options)).unwrap();
        made[0].as_ref().unwrap();
        self.await_topic(topic, Some(partitions as usize));
    }

    /// Adds partitions to a topic.
    pub fn grow(&self, topic: &str, partitions: usize) {
        let more = NewPartitions::new(topic, partitions);
        wait(
            self.admin()
                .create_partitions([&more], &AdminOptions::new()),
        )
        .unwrap();
        self.await_topic(topic, Some(partitions));
    }

    /// Deletes the records before an offset, as retention would.
    pub fn delete_before(&self, topic: &str, partition: i32, offset: i64) {
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition_offset(topic, partition, rdkafka::Offset::Offset(offset))
            .unwrap();
        wait(self.admin().delete_records(&list, &AdminOptions::new())).unwrap();
    }

    fn await_topic(&self, topic: &str, partitions: Option<usize>) {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.brokers())
            .create()
            .unwrap();
        let deadline = Instant::now() + START_WITHIN;
        loop {
            let metadata = consumer.fetch_metadata(None, START_WITHIN).unwrap();
            let found = metadata.topics().iter().find(|seen| seen.name() == topic);
            let ready = match partitions {
                None => found.is_none(),
                Some(wanted) => found.is_some_and(|found| {
                    found.partitions().len() == wanted
                        && found
                            .partitions()
                            .iter()
                            .all(|partition| partition.leader() >= 0)
                }),
            };
            if ready {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "topic {topic} never had {partitions:?} partitions"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

impl Cluster for Broker {
    fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.plain)
    }

    fn create_topic(&self, topic: &str, partitions: i32) {
        self.create(topic, partitions, &[]);
    }
}

impl Fragile for Broker {
    /// SIGKILL.
    fn take_down(&self) {
        let process = self.process.lock().unwrap().take();
        if let Some(mut guard) = process {
            // The guard's input ends, and it kills the broker.
            drop(guard.stdin.take());
            guard.wait().unwrap();
        }
    }

    fn bring_up(&self) {
        let mut process = self.process.lock().unwrap();
        if process.is_some() {
            return;
        }
        let java = self.java();
        let mut command = String::from("java");
        for argument in java.get_args() {
            command.push_str(&format!(" '{}'", argument.to_str().unwrap()));
        }
        // A shell stands guard: when this program ends in any way, its input ends, and the broker is killed.
        let script = format!(
            "{command} kafka.Kafka '{}' >> '{}' 2>&1 < /dev/null & broker=$!; echo $broker > '{}'; cat > /dev/null; kill -9 $broker; wait $broker",
            self.path("server.properties").display(),
            self.path("broker.out").display(),
            self.path("broker.pid").display()
        );
        let mut guard = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        guard.stdin.as_mut().unwrap().flush().unwrap();
        *process = Some(guard);
        drop(process);
        self.await_start();
    }
}

impl Broker {
    fn await_start(&self) {
        let deadline = Instant::now() + START_WITHIN;
        loop {
            let consumer: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", self.brokers())
                .set("log_level", "0")
                .create()
                .unwrap();
            if consumer
                .fetch_metadata(None, Duration::from_secs(1))
                .is_ok_and(|metadata| !metadata.brokers().is_empty())
            {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "the broker did not start:\n{}",
                self.log_end()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.take_down();
    }
}

/// A path as a setting's text.
#[cfg(feature = "tls")]
pub fn shown(path: &Path) -> String {
    path.display().to_string()
}
