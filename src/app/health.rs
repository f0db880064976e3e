//! The small runtime: one thread of its own that answers for the server's health, whatever the other threads are doing.
//!
//! Owns the thread and the listener; what is answered is `server`'s. Called by `app`; there is none unless `health_listen` is set.

use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::AppError;
use crate::server::HealthDoor;

/// A thread that runs whatever its runtime is given; it ends when this is dropped.
pub(super) struct Health {
    address: SocketAddr,
    listener: Option<TcpListener>,
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Health {
    /// Listens, and starts the thread.
    pub(super) fn start(address: SocketAddr) -> Result<Health, AppError> {
        let listen_failed = |source| AppError::HealthListen { address, source };
        let listener = TcpListener::bind(address).map_err(listen_failed)?;
        listener.set_nonblocking(true).map_err(listen_failed)?;
        let address = listener.local_addr().map_err(listen_failed)?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(AppError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let handle = runtime.handle().clone();
        let run = move || {
            // Told to, or its owner is gone: both are the end.
            let _told = runtime.block_on(stopped);
        };
        let thread =
            std::thread::Builder::new().name("health".to_owned()).spawn(run).map_err(AppError::Thread)?;
        Ok(Health {
            address,
            listener: Some(listener),
            runtime: handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The address that is listened on, with the real port.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The runtime, to be watched.
    pub(super) fn runtime(&self) -> Handle {
        self.runtime.clone()
    }

    /// What the server needs to answer there, and this, which must live until it has stopped.
    pub(super) fn open(mut self) -> (Health, Option<HealthDoor>) {
        let door =
            self.listener.take().map(|listener| HealthDoor { listener, runtime: self.runtime.clone() });
        (self, door)
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It does nothing but wait for the line above; a panic of a task stays in the task.
            drop(thread.join());
        }
    }
}
