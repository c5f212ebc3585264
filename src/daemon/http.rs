//! The two listeners and the signals. Health, metrics and admin run on a thread of their own, so that a flood of
//! predictions cannot silence them.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::Failure;
use super::secrets::Secrets;
use crate::config::Config;
use crate::serve::keeper::LOOK_EVERY as LOOK_EVERY_FILE;
use crate::serve::{self, App, Limits};
use crate::telemetry;

/// How often the wait for a stop looks at the learner's thread and the clock.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Histograms are folded this often: until then they hold every sample, some 10 MB a second at full speed.
const UPKEEP_EVERY: Duration = Duration::from_millis(500);

/// SIGTERM and SIGINT.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// SIGXFSZ, which ends a process that nobody hears it in: with it a file that may not grow is an error of the write, as on a
    /// full disk.
    _too_large: Signal,
}

const SIGXFSZ: i32 = 25;

impl Signals {
    /// Must be called inside a runtime.
    pub fn new() -> Result<Self, Failure> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(Failure::internal)?,
            interrupt: signal(SignalKind::interrupt()).map_err(Failure::internal)?,
            _too_large: signal(SignalKind::from_raw(SIGXFSZ)).map_err(Failure::internal)?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Waits for a signal, the deadline, or the end of the learner's thread. A second signal ends the process at once:
/// that is as safe as a crash.
pub(super) async fn until_stop(
    mut signals: Signals,
    deadline: Option<Instant>,
    trainer: Option<&JoinHandle<Result<(), Failure>>>,
) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = signals.next() => break,
            _ = look.tick() => {
                let over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
                if over || trainer.is_none_or(JoinHandle::is_finished) {
                    break;
                }
            }
        }
    }
    tokio::spawn(async move {
        signals.next().await;
        tracing::warn!("second signal: ending at once");
        std::process::exit(143);
    });
}

/// A bound socket, so that a busy port is known before anything else starts.
pub(super) fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(address).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Failure::config(format!(
            "{key} = \"{address}\": the address is in use by another process; choose a free one, or stop that process"
        )),
        _ => Failure::config(format!("{key} = \"{address}\": cannot listen there: {error}")),
    })?;
    listener.set_nonblocking(true).map_err(Failure::io)?;
    Ok(listener)
}

/// Both listeners while they run.
pub(super) struct Servers {
    shutdown: watch::Sender<bool>,
    public: Option<tokio::task::JoinHandle<()>>,
    admin: Option<JoinHandle<()>>,
    handle: tokio::runtime::Handle,
}

impl Servers {
    /// Starts to answer on both sockets.
    pub fn start(
        runtime: &tokio::runtime::Runtime,
        config: &Config,
        app: Arc<App>,
        (public, admin): (TcpListener, TcpListener),
        secrets: &Secrets,
        metrics: telemetry::Handle,
    ) -> Result<Self, Failure> {
        let (shutdown, stopped) = watch::channel(false);
        let limits = Limits::of(&config.http);
        let router = serve::public(Arc::clone(&app));
        let (public_limits, public_stopped) = (limits.clone(), stopped.clone());
        let (public_tls, admin_tls) = (secrets.public_tls.clone(), secrets.admin_tls.clone());
        let mut keeper = secrets.keeper(Arc::clone(&app));
        let public = runtime.spawn(async move {
            let ended = serve::run(public, router, public_limits, public_tls, public_stopped);
            if let Err(error) = ended.await {
                tracing::error!(%error, "the public listener ended");
            }
        });
        let router = serve::admin(app);
        let admin = std::thread::Builder::new()
            .name("skewd-admin".to_owned())
            .spawn(move || {
                let built = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                match built {
                    Ok(runtime) => runtime.block_on(async move {
                        tokio::spawn(async move {
                            let mut tick = tokio::time::interval(UPKEEP_EVERY);
                            loop {
                                tick.tick().await;
                                metrics.upkeep();
                            }
                        });
                        tokio::spawn(async move {
                            let mut tick = tokio::time::interval(LOOK_EVERY_FILE);
                            loop {
                                tick.tick().await;
                                keeper.look();
                            }
                        });
                        // Who has no token can open connections all the same: they must not keep out who has one.
                        let limits = Limits {
                            evicts: true,
                            ..limits
                        };
                        let ended = serve::run(admin, router, limits, admin_tls, stopped);
                        if let Err(error) = ended.await {
                            tracing::error!(%error, "the admin listener ended");
                        }
                    }),
                    Err(error) => tracing::error!(%error, "no runtime for the admin listener"),
                }
            })
            .map_err(Failure::internal)?;
        Ok(Self {
            shutdown,
            public: Some(public),
            admin: Some(admin),
            handle: runtime.handle().clone(),
        })
    }

    /// Stops to accept, and waits for open requests as long as `http.drain_timeout_ms` allows.
    pub fn drain(&mut self) {
        self.shutdown.send_replace(true);
        if let Some(public) = self.public.take() {
            let _ = self.handle.block_on(public);
        }
        if let Some(admin) = self.admin.take() {
            let _ = admin.join();
        }
    }
}
