//! The real binary under siege: thousands of connections that want nothing, clients that send or read a byte at a time, and too few
//! descriptors for all who come. Others are served meanwhile, and everything is given back.
//!
//! `TEST_SIEGE=full` besieges with 10,000 idle connections and 500 dribblers for as long as the default timeouts take (two minutes);
//! otherwise both are few, and so are the seconds.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use minilab::app::App;
use minilab::config::Settings;
use tokio::sync::oneshot;

use crate::support::images;
use crate::support::process::ServerProcess;
use crate::support::raw;

/// How hard, and for how long.
struct Siege {
    idle: usize,
    dribblers: usize,
    /// How long it is kept up once everybody is there.
    lasts: Duration,
    /// Until all that they held is given back.
    back_within: Duration,
    arguments: &'static [&'static str],
}

fn siege() -> Siege {
    match std::env::var("TEST_SIEGE").as_deref() {
        Ok("full") => Siege {
            idle: 10_000,
            dribblers: 500,
            lasts: Duration::from_secs(20),
            back_within: Duration::from_secs(90),
            arguments: &["--limits-connections", "12000", "--grace", "1s"],
        },
        _ => Siege {
            idle: 300,
            dribblers: 40,
            lasts: Duration::from_secs(2),
            back_within: Duration::from_secs(40),
            arguments: &["--timeouts-header", "4s", "--timeouts-body-idle", "1s", "--timeouts-idle", "4s"],
        },
    }
}

/// Descriptors that the server has open.
fn descriptors(server: &ServerProcess) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

/// Processor time that the server has used.
fn processor_time(server: &ServerProcess) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    // The name may hold spaces; user and system time are the 12th and 13th field behind it, in hundredths of a second.
    let fields: Vec<u64> =
        stat.rsplit(") ").next().unwrap().split(' ').map(|field| field.parse().unwrap_or(0)).collect();
    Duration::from_millis(10 * (fields[11] + fields[12]))
}

fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

fn connect(server: &ServerProcess) -> TcpStream {
    let stream = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}

/// A client that sends what it has to say byte by byte, or reads its answer so.
struct Dribbler {
    stream: TcpStream,
    left: VecDeque<u8>,
}

impl Dribbler {
    /// Every third sends its head so, every third its body, every third reads its answer so.
    fn new(server: &ServerProcess, number: usize) -> Dribbler {
        let stream = connect(server);
        let (at_once, left) = match number % 3 {
            0 => ("", "GET /health/live HTTP/1.1\r\nhost: localhost\r\nx-padding: "),
            1 => ("POST /v1/jobs?width=9 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n", ""),
            _ => ("GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n", ""),
        };
        (&stream).write_all(at_once.as_bytes()).unwrap();
        Dribbler { stream, left: left.bytes().chain(std::iter::repeat_n(b'x', 1000)).collect() }
    }

    fn dribble(&mut self) {
        let byte = self.left.pop_front().unwrap_or(b'x');
        // Cut off, or not taken: both are the server's right.
        let _sent = self.stream.write(&[byte]);
        let _read = self.stream.read(&mut [0]);
    }
}

/// The slowest of a hundred, of these times.
fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[(times.len() * 99 / 100).min(times.len() - 1)]
}

#[test]
fn others_are_served_and_descriptors_come_back() {
    raise_descriptor_limit();
    let siege = siege();
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), siege.arguments);
    let get = |path: &str| {
        let asked = Instant::now();
        assert_eq!(raw::request(&server.url, "GET", path, &[], b"").status, 200, "{path}");
        asked.elapsed()
    };
    get("/health/live");
    let before = descriptors(&server);
    let mut most = before;
    let mut idle = Vec::new();
    while idle.len() < siege.idle {
        let mut stream = connect(&server);
        // One in ten never says a word; the others have asked something and stay.
        if idle.len() % 10 > 0 {
            stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        }
        idle.push(stream);
    }
    most = most.max(descriptors(&server));
    let mut dribblers: Vec<Dribbler> =
        (0..siege.dribblers).map(|number| Dribbler::new(&server, number)).collect();
    let (began, mut probes) = (Instant::now(), Vec::new());
    most = most.max(descriptors(&server));
    let job = raw::request(&server.url, "POST", "/v1/jobs?width=9", &[], &images::small()).json();
    let status = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    while began.elapsed() < siege.lasts {
        dribblers.iter_mut().for_each(Dribbler::dribble);
        for path in ["/health/live", "/health/ready", &status] {
            probes.push(get(path));
        }
        most = most.max(descriptors(&server));
    }
    assert!(most >= before + (siege.idle + siege.dribblers) / 2, "{most} descriptors are no siege");
    let count = probes.len();
    let slowest = p99(probes);
    // They go on dribbling; whoever is patient with them has lost.
    let deadline = began + siege.lasts + siege.back_within;
    while descriptors(&server) > before + 8 {
        assert!(
            Instant::now() < deadline,
            "{} descriptors are still held, of {before}",
            descriptors(&server)
        );
        dribblers.iter_mut().for_each(Dribbler::dribble);
        std::thread::sleep(Duration::from_millis(50));
    }
    println!(
        "{} idle connections, {} dribblers, {most} descriptors at most; {count} probes, p99 {slowest:?}; all back {:?} later; {} MiB resident at most",
        siege.idle,
        siege.dribblers,
        began.elapsed() - siege.lasts,
        server.peak_resident_bytes() >> 20,
    );
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

/// A server with so many descriptors at most.
fn limited(directory: &Path, descriptors: usize) -> ServerProcess {
    let mut shell = Command::new("sh");
    let script = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_minilab")]);
    ServerProcess::start_by(shell, directory, &["--timeouts-header", "60s"])
}

#[test]
fn too_few_descriptors_make_no_server_spin() {
    raise_descriptor_limit();
    let directory = tempfile::tempdir().unwrap();
    let server = limited(directory.path(), 256);
    let address = server.url.strip_prefix("http://").unwrap().parse().unwrap();
    // Who finds the kernel's queue full, too, does not wait in front of it.
    let knock = |_| TcpStream::connect_timeout(&address, Duration::from_millis(50)).ok();
    let mut clients: Vec<TcpStream> = (0..400).filter_map(knock).collect();
    let began = Instant::now();
    while descriptors(&server) < 250 {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "only {} descriptors are taken",
            descriptors(&server)
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let (used, began) = (processor_time(&server), Instant::now());
    std::thread::sleep(Duration::from_secs(3));
    let share = (processor_time(&server) - used).as_secs_f64() / began.elapsed().as_secs_f64();
    println!("400 clients on 256 descriptors: {:.1} % of a processor", share * 100.0);
    assert!(share < 0.25, "it spins: {share}");
    // Once the crowd is gone, everybody is served again.
    clients.clear();
    let began = Instant::now();
    loop {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let _refused =
            stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let mut answer = String::new();
        match stream.read_to_string(&mut answer) {
            Ok(_) if answer.starts_with("HTTP/1.1 200") => break,
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionReset
                ) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(began.elapsed() < Duration::from_secs(10), "nobody is served any more");
    }
}

/// Clients that are all sent home in one moment.
const CROWD: usize = 2_000;
/// How often a machine that is busy otherwise may spoil what is measured.
const TRIES: usize = 3;

/// A server with a crowd of connected clients stops: how long until the last has been sent home, and the longest that the event loop has
/// kept something else waiting meanwhile.
fn sent_home() -> (Duration, Duration) {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let app = runtime.block_on(App::start(Settings::in_directory(directory.path()))).unwrap();
    let url = format!("http://{}", app.address());
    let (stop, stopped) = oneshot::channel::<()>();
    let running = runtime.spawn(app.run(async { drop(stopped.await) }));
    // One after another: a backlog that overflows would cost a second each time.
    let arrive = |_| {
        let mut stream = raw::connect(&url);
        stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        assert_eq!(raw::read_answer(&mut stream).status, 200);
        stream
    };
    let mut crowd: Vec<TcpStream> = (0..CROWD).map(arrive).collect();
    let (handle, is_over) = (runtime.handle().clone(), Arc::new(AtomicBool::new(false)));
    let over = Arc::clone(&is_over);
    let bystander = std::thread::spawn(move || {
        let mut longest = Duration::ZERO;
        while !over.load(Ordering::Relaxed) {
            let (turn, had) = mpsc::channel();
            let asked = Instant::now();
            handle.spawn(async move { turn.send(asked.elapsed()).unwrap() });
            longest = longest.max(had.recv().unwrap());
            std::thread::sleep(Duration::from_millis(1));
        }
        longest
    });
    let began = Instant::now();
    drop(stop);
    for stream in &mut crowd {
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    let took = began.elapsed();
    is_over.store(true, Ordering::Relaxed);
    let longest = bystander.join().unwrap();
    runtime.block_on(running).unwrap().unwrap();
    (took, longest)
}

#[test]
fn a_crowd_that_is_sent_home_leaves_others_their_turns() {
    raise_descriptor_limit();
    let tries: Vec<_> = (0..TRIES).map(|_| sent_home()).collect();
    println!("{CROWD} clients sent home in, and the longest that others waited: {tries:?}");
    // When all are told at once, nothing else has a turn until nearly the last is gone.
    let is_shared = |&(took, longest): &(Duration, Duration)| 4 * longest < took;
    assert!(tries.iter().any(is_shared), "others waited too long: {tries:?}");
}

/// How often threads of the server have gone to sleep so far.
fn sleeps(server: &ServerProcess) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let of_thread = |path: std::path::PathBuf| {
        let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.map_or(0, |count| count.trim().parse::<u64>().unwrap())
    };
    threads.map(|thread| of_thread(thread.unwrap().path())).sum()
}

#[test]
fn a_server_with_nothing_to_do_sleeps() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &["--health-listen", "127.0.0.1:0"]);
    let job = raw::request(&server.url, "POST", "/v1/jobs?width=9&wait=30", &[], &images::small());
    assert_eq!(job.status, 200);
    let (used, slept, began) = (processor_time(&server), sleeps(&server), Instant::now());
    std::thread::sleep(Duration::from_secs(3));
    let seconds = began.elapsed().as_secs_f64();
    let share = (processor_time(&server) - used).as_secs_f64() / seconds;
    let woken = (sleeps(&server) - slept) as f64 / seconds;
    println!("idle: {:.2} % of a processor, woken {woken:.0} times a second", share * 100.0);
    assert!(share < 0.03, "{:.1} % of a processor for nothing", share * 100.0);
    // The watchdog looks fifty times a second; nobody else need do so much.
    assert!(woken < 120.0, "woken {woken:.0} times a second");
}
