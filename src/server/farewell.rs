//! Closes the sockets of clients who have left, on a thread of its own.
//!
//! Closing a socket is half of what the end of a connection costs, and it can't be cut short. When thousands of clients leave in one moment,
//! that work stood before every request that came in behind it. Nobody waits for it: only who has closed their side is seen off here; a
//! socket that this side closes first is closed at once, by whoever serves it. Never reads or writes. Called by `activity`.

use std::sync::mpsc;

use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

/// Below the event loop's threads, above those that work on images.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// A socket, and its connection's place among those that may be open: taken as long as there is a descriptor.
pub(super) type Seat = (TcpStream, OwnedSemaphorePermit);

/// The way to the thread, which ends when nobody knows the way any more.
#[derive(Clone, Debug)]
pub(super) struct Farewell(Option<mpsc::Sender<Seat>>);

impl Farewell {
    /// Starts the thread. Without one, sockets are closed by whoever drops them.
    pub(super) fn start() -> Farewell {
        let (sender, receiver) = mpsc::channel::<Seat>();
        let close = move || {
            lower_priority();
            receiver.into_iter().for_each(drop);
        };
        match std::thread::Builder::new().name("farewell".to_owned()).spawn(close) {
            Ok(_) => Farewell(Some(sender)),
            Err(error) => {
                tracing::warn!(%error, "without a thread for it, the event loop itself closes sockets of who has left");
                Farewell(None)
            }
        }
    }

    /// A way to a test instead of the thread.
    #[cfg(test)]
    pub(super) fn to(sender: mpsc::Sender<Seat>) -> Farewell {
        Farewell(Some(sender))
    }

    /// Closes a socket soon, then gives up its place.
    pub(super) fn close(&self, seat: Seat) {
        if let Some(sender) = &self.0 {
            // Where the thread is gone, it comes back with the error, and is closed here.
            drop(sender.send(seat));
        }
    }
}

/// On Linux niceness belongs to the thread; elsewhere to the process, where this thread is as good as others.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "sockets are closed with the event loop's priority");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_socket_is_closed_and_its_place_is_free_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).acquire_owned().await.unwrap();
        Farewell::start().close((socket, place));
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        drop(places.acquire().await.unwrap());
    }
}
