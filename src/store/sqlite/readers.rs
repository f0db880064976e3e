//! The threads that read, each on a connection of its own.
//!
//! A read sees every commit that was answered before it was asked for. Never writes, never blocks the caller's thread. Used by the
//! reading verbs of this engine.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::fault::Fault;
use super::shared::Shared;
use crate::store::{Result, StoreError};

/// Reads that may wait before callers have to.
const QUEUE_LENGTH: usize = 1024;

type Read = Box<dyn FnOnce(&Connection) + Send>;

/// The sending end; dropping it lets the threads finish what waits, and end.
#[derive(Debug)]
pub(super) struct Readers {
    sender: Option<mpsc::Sender<Read>>,
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Readers {
    /// Starts one thread per connection.
    pub(super) fn start(connections: Vec<Connection>, shared: Arc<Shared>) -> std::io::Result<Readers> {
        let (sender, receiver) = mpsc::channel::<Read>(QUEUE_LENGTH);
        let receiver = Arc::new(Mutex::new(receiver));
        let mut readers = Readers { sender: Some(sender), threads: Vec::new(), shared };
        for (number, connection) in connections.into_iter().enumerate() {
            let receiver = Arc::clone(&receiver);
            let thread = std::thread::Builder::new()
                .name(format!("store-reader-{number}"))
                .spawn(move || serve(&connection, &receiver))?;
            readers.threads.push(thread);
        }
        Ok(readers)
    }

    /// Runs `work` on one of the connections.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> std::result::Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        if let Some(broken) = self.shared.broken() {
            return Err(broken);
        }
        let ended = || StoreError::Unavailable("the store's readers have ended".to_owned());
        let (reply, answer) = oneshot::channel();
        let read: Read = Box::new(move |connection| {
            let result = catch_unwind(AssertUnwindSafe(|| work(connection))).unwrap_or(Err(Fault::Panicked));
            // Who no longer listens needs no answer.
            let _ = reply.send(result.map_err(StoreError::from));
        });
        let Some(sender) = &self.sender else { return Err(ended()) };
        sender.send(read).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.sender = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a reader of the store panicked");
            }
        }
    }
}

fn serve(connection: &Connection, receiver: &Mutex<mpsc::Receiver<Read>>) {
    loop {
        // One thread waits in the channel, the others for the lock; it is released before the read begins.
        let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(read) = next else { return };
        read(connection);
    }
}
