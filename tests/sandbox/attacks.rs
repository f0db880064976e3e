//! What a decoder that was taken over might try, tried from within the sandbox by the child that this program becomes. Each attack ends its
//! own process or nothing at all, and is reported as what it was.

#![allow(unsafe_code)]

use std::io::{Cursor, Read, Write};
use std::os::fd::FromRawFd;
use std::process::Command;
use std::time::{Duration, Instant};

use minilab::blob::SpoolReader;
use minilab::pipeline::{Assets, Control, Error, Header, Limits, Made, Pipeline, probe, run};
use minilab::worker::isolation::Mode;
use serde_json::Value;

use super::support::images;
use super::support::server::TestServer;

/// Between an image's last byte and the order.
const MARK: &[u8] = b"\nATTACK:";

/// What the child does with an image: as ordered, or else what it always does.
pub(crate) fn work(
    source: &[u8],
    pipeline: &Pipeline,
    assets: &Assets,
    limits: &Limits,
    control: &dyn Control,
) -> Result<Made, Error> {
    if let Some(name) = order(source) {
        attack(name);
    }
    run(source, pipeline, assets, limits, control)
}

/// What the child does with an image whose header is asked for.
pub(crate) fn look(mut image: SpoolReader, limits: &Limits) -> Result<Header, Error> {
    let mut source = Vec::new();
    image.read_to_end(&mut source).unwrap();
    let Some(name) = order(&source) else { return probe(Cursor::new(source), limits) };
    if let Some(lie) = name.strip_prefix("header:") {
        let mut words = u32::try_from(lie.len()).unwrap().to_le_bytes().to_vec();
        words.extend(lie.as_bytes());
        say(&words);
    }
    attack(name);
    probe(Cursor::new(&source[..source.len() - MARK.len() - name.len()]), limits)
}

fn order(source: &[u8]) -> Option<&str> {
    let at = source.windows(MARK.len()).rposition(|window| window == MARK)?;
    std::str::from_utf8(&source[at + MARK.len()..]).ok()
}

fn attack(name: &str) {
    // SAFETY: these calls are the attack; what they do to this process is what the test is about.
    unsafe {
        match name {
            "open" => drop(std::fs::File::open("/etc/passwd")),
            "stat" => drop(std::fs::metadata("/etc/passwd")),
            "write-file" => drop(std::fs::write("/tmp/minilab-was-here", b"x")),
            "connect" => drop(std::net::TcpStream::connect("127.0.0.1:80")),
            "listen" => drop(std::net::TcpListener::bind("127.0.0.1:0")),
            "fork" => drop(libc::fork()),
            "thread" => drop(std::thread::Builder::new().spawn(|| {})),
            "exec" => drop(Command::new("/bin/true").status()),
            "execve" => drop(libc::execv(c"/bin/true".as_ptr(), [std::ptr::null()].as_ptr())),
            "ptrace" => drop(libc::ptrace(libc::PTRACE_ATTACH, parent(), 0, 0)),
            "kill-parent" => drop(libc::kill(parent(), libc::SIGKILL)),
            "signal-parent" => drop(libc::syscall(libc::SYS_tgkill, parent(), parent(), libc::SIGKILL)),
            "raise-limits" => drop(libc::setrlimit(
                libc::RLIMIT_AS,
                &libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY },
            )),
            "run-data" => drop(libc::mmap(
                std::ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )),
            "truncate" => drop(libc::ftruncate(3, 1 << 40)),
            "allocate" => drop(libc::fallocate(3, 0, 0, 1 << 30)),
            "far" => drop(libc::pwrite(3, c"x".as_ptr().cast(), 1, 1 << 40)),
            "send-descriptors" => drop(libc::sendmsg(0, &std::mem::zeroed(), 0)),
            "open-more" => drop(libc::dup(3)),
            "raise-priority" => drop(libc::setpriority(libc::PRIO_PROCESS, 0, -20)),
            "memory" => eat(),
            "fill-output" => fill(),
            "stack" => drop(std::hint::black_box(deeper(1))),
            "null" => std::ptr::null_mut::<u8>().write_volatile(1),
            "abort" => std::process::abort(),
            "exit" => std::process::exit(0),
            "panic" => panic!("on purpose"),
            "spin" => loop {
                std::hint::spin_loop();
            },
            "stop" => drop(libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), libc::SIGSTOP)),
            "close" => {
                libc::close(0);
                attack("spin");
            }
            "flood" => loop {
                say_on(&b"\x0d\0\0\0{\"planned\":7}".repeat(1000));
            },
            "two-answers" => {
                let failed = r#"{"failed":{"code":"corrupt_image","detail":"made up","retryable":false,"output":null}}"#;
                let frame =
                    |words: &str| [&(words.len() as u32).to_le_bytes()[..], words.as_bytes()].concat();
                say_on(
                    &[frame(failed), frame(r#"{"made":{"outputs":[],"analysis":{},"warnings":[]}}"#)]
                        .concat(),
                );
                attack("spin");
            }
            "many-values" => {
                let words = format!(
                    "{{\"made\":{{\"outputs\":[],\"analysis\":{{\"a\":[{}0]}},\"warnings\":[]}}}}",
                    "0,".repeat(2_000_000)
                );
                say(&[&(words.len() as u32).to_le_bytes()[..], words.as_bytes()].concat());
            }
            "storage-error" => say(&{
                let words =
                    r#"{"failed":{"code":"storage_error","detail":"x","retryable":true,"output":null}}"#;
                [&(words.len() as u32).to_le_bytes()[..], words.as_bytes()].concat()
            }),
            "header" => say(b"\x07\0\0\0\"ready\""),
            "lie" => say(b"\x10\0\0\0{\"made\":{\"outputs"),
            "boast" => say(b"\xff\xff\xff\xff"),
            "other-outputs" => say_made("[]"),
            "no-bytes" => say_made(
                "[{\"name\":\"output\",\"format\":\"png\",\"width\":1,\"height\":1,\"quality\":null,\"bytes\":999}]",
            ),
            "scribble" => scribble(),
            "nothing" => {}
            other => panic!("no such attack: {other}"),
        }
    }
}

/// The server: asking for one's parent is forbidden, guessing is not, and any process will do to try.
fn parent() -> libc::pid_t {
    1
}

fn eat() {
    let mut eaten = Vec::new();
    loop {
        eaten.push(vec![1u8; 16 << 20]);
        std::hint::black_box(&eaten);
    }
}

fn deeper(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 512]);
    if depth == u64::MAX { depth } else { deeper(depth + 1) + room[17] }
}

/// Says something to the server in the child's own name, and no more after it.
fn say(words: &[u8]) {
    // SAFETY: descriptor 0 is the socket, and this process ends here.
    let mut socket = unsafe { std::fs::File::from_raw_fd(0) };
    socket.write_all(words).unwrap();
    std::process::exit(0);
}

/// Says something and goes on.
fn say_on(words: &[u8]) {
    // SAFETY: descriptor 0 is the socket; it is not closed.
    let mut socket = std::mem::ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(0) });
    socket.write_all(words).unwrap();
}

fn say_made(outputs: &str) {
    let said = format!("{{\"made\":{{\"outputs\":{outputs},\"analysis\":{{}},\"warnings\":[]}}}}");
    let mut words = u32::try_from(said.len()).unwrap().to_le_bytes().to_vec();
    words.extend(said.as_bytes());
    say(&words);
}

/// Writes into every descriptor that there is, but for the socket.
fn scribble() {
    for number in 1..64 {
        // SAFETY: whoever owns it gets its bytes spoiled, which is the point; it is not closed.
        let mut file = std::mem::ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(number) });
        let _refused_or_harmless = file.write_all(b"was here");
    }
}

/// Fills whatever takes bytes.
fn fill() {
    let much = vec![7u8; 16 << 20];
    for number in 3..64 {
        // SAFETY: as above.
        let mut file = std::mem::ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(number) });
        while file.write_all(&much).is_ok() {}
    }
}

/// Each attack, and how its job must end: the error's code and words from its detail.
const ATTACKS: [(&str, &str, &str); 43] = [
    ("open", "crashed", "SIGSYS"),
    ("stat", "crashed", "SIGSYS"),
    ("write-file", "crashed", "SIGSYS"),
    ("connect", "crashed", "SIGSYS"),
    ("listen", "crashed", "SIGSYS"),
    ("fork", "crashed", "SIGSYS"),
    ("thread", "crashed", "SIGSYS"),
    ("exec", "crashed", "SIGSYS"),
    ("execve", "crashed", "SIGSYS"),
    ("ptrace", "crashed", "SIGSYS"),
    ("kill-parent", "crashed", "SIGSYS"),
    ("signal-parent", "crashed", "SIGSYS"),
    ("raise-limits", "crashed", "SIGSYS"),
    ("run-data", "crashed", "SIGSYS"),
    ("truncate", "crashed", "SIGSYS"),
    ("allocate", "crashed", "SIGSYS"),
    ("send-descriptors", "crashed", "SIGSYS"),
    ("open-more", "crashed", "SIGSYS"),
    ("raise-priority", "crashed", "SIGSYS"),
    ("far", "image_too_large", "more memory"),
    ("memory", "image_too_large", "more memory"),
    ("fill-output", "image_too_large", "more memory"),
    ("stack", "crashed", "overflowed its stack"),
    ("null", "crashed", "SIGSEGV"),
    ("abort", "crashed", "SIGABRT"),
    ("exit", "crashed", "exit status: 0"),
    ("panic", "panic", "on purpose"),
    ("spin", "timeout", "longer than 1000 ms"),
    ("stop", "timeout", "longer than 1000 ms"),
    ("close", "crashed", "SIGKILL"),
    ("flood", "timeout", "longer than 1000 ms"),
    ("two-answers", "corrupt_image", "made up"),
    ("many-values", "crashed", "did not report as it should"),
    ("storage-error", "crashed", "did not report as it should"),
    ("header", "crashed", "did not report as it should"),
    ("lie", "crashed", "did not report as it should"),
    ("boast", "crashed", "did not report as it should"),
    ("other-outputs", "crashed", "did not report as it should"),
    ("no-bytes", "crashed", "did not report as it should"),
    ("scribble", "", ""),
    ("nothing", "", ""),
    ("nothing", "", ""),
    ("nothing", "", ""),
];

pub(crate) fn attacks_die_alone() {
    let server = TestServer::with(|settings| {
        settings.worker.isolation.mode = Mode::Process;
        settings.worker.isolation.require_sandbox = true;
        settings.worker.workers = 4;
    });
    let isolation = server.get("/v1/stats").json()["isolation"].clone();
    assert!(isolation.as_str().unwrap().starts_with("process (landlock ABI "), "{isolation}");
    let image = images::small();
    let innocent = server.succeeded("format=png", &image);
    let ids: Vec<String> = ATTACKS
        .iter()
        .map(|(name, code, _)| {
            let source = [&image, MARK, name.as_bytes()].concat();
            // Only those that would never end are to be cut off, however busy the machine is.
            let timeout = if *code == "timeout" { "1s" } else { "60s" };
            server.submit(&format!("format=png&timeout={timeout}"), &source)
        })
        .collect();
    let beside = server.succeeded("format=png", &image);
    assert_eq!(beside["outputs"][0]["sha256"], innocent["outputs"][0]["sha256"]);
    for ((name, code, words), id) in ATTACKS.iter().zip(&ids) {
        let job = ended(&server, id);
        if code.is_empty() {
            assert_eq!(job["status"], "succeeded", "{name}: {job}");
            assert_eq!(job["outputs"][0]["sha256"], innocent["outputs"][0]["sha256"], "{name}");
            continue;
        }
        assert_eq!(job["error"]["code"], *code, "{name}: {job}");
        let detail = job["error"]["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{name}: {detail}");
        let tries = match *code {
            "crashed" => 3,
            "timeout" => 2,
            _ => 1,
        };
        assert_eq!(job["attempts"].as_array().unwrap().len(), tries, "{name}: {job}");
    }
    assert!(!std::path::Path::new("/tmp/minilab-was-here").exists());
    let scribbled = ATTACKS.iter().position(|(name, ..)| *name == "scribble").unwrap();
    let source = server.get(&format!("/v1/jobs/{}/source", ids[scribbled])).body;
    assert!(source.starts_with(&image), "the source was written over");
    let stall = server.get("/v1/stats").json()["event_loop_stall_max_ms"].as_f64().unwrap();
    assert!(stall < 1000.0, "the event loop stood still for {stall} ms");
}

const DRAWING: &[u8] =
    b"<svg xmlns='http://www.w3.org/2000/svg' width='40' height='30'><path d='M0 0h9v9'/></svg>";

/// Each attack of an image that is only looked at, and the code of the answer.
const LOOKS: [(&str, &str); 15] = [
    ("open", "corrupt_image"),
    ("connect", "corrupt_image"),
    ("fork", "corrupt_image"),
    ("null", "corrupt_image"),
    ("stack", "corrupt_image"),
    ("exit", "corrupt_image"),
    ("panic", "corrupt_image"),
    ("lie", "corrupt_image"),
    ("boast", "corrupt_image"),
    ("other-outputs", "corrupt_image"),
    ("header", "corrupt_image"),
    (
        "header:{\"seen\":{\"format\":\"svg\",\"width\":9,\"height\":9,\"frames\":1,\"depth\":8,\"alpha\":true,\"channels\":4,\
         \"has_icc\":false,\"orientation\":1,\"progressive\":false,\"working_bytes\":18446744073709551615}}",
        "corrupt_image",
    ),
    ("memory", "image_too_large"),
    ("spin", "image_too_large"),
    ("nothing", ""),
];

/// Whoever submits is told at once; whoever only names an address gets a job that ends so.
pub(crate) fn looks_die_alone() {
    let server = TestServer::with(|settings| {
        settings.worker.isolation.mode = Mode::Process;
        settings.worker.isolation.require_sandbox = true;
        settings.worker.workers = 1;
    });
    let drawing = |attack: &str| [DRAWING, MARK, attack.as_bytes()].concat();
    std::thread::scope(|scope| {
        let submit = |(attack, code): (&'static str, &'static str)| {
            let (server, drawing) = (&server, drawing(attack));
            scope.spawn(move || {
                let answer = server.post("/v1/jobs?format=png", &drawing);
                let body = answer.json();
                match code {
                    "" => {
                        assert_eq!((answer.status, &body["status"]), (202, &Value::from("queued")), "{body}")
                    }
                    _ => assert_eq!(
                        (answer.status, &body["code"]),
                        (422, &Value::from(code)),
                        "{attack}: {body}"
                    ),
                }
            })
        };
        let waiting: Vec<_> = LOOKS.into_iter().map(submit).collect();
        waiting.into_iter().for_each(|one| one.join().unwrap());
    });
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let bytes = drawing("null");
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let _request = connection.read(&mut [0; 4096]).unwrap();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", bytes.len());
            connection.write_all(&[head.as_bytes(), &bytes].concat()).unwrap();
        }
    });
    let fetched = serde_json::json!({"source": {"url": format!("http://{address}/a.svg")}, "outputs": [{}]});
    let id = server.post_json("/v1/jobs", &fetched).json()["id"].as_str().unwrap().to_owned();
    let job = ended(&server, &id);
    assert_eq!(
        (&job["error"]["code"], job["attempts"].as_array().unwrap().len()),
        (&"crashed".into(), 3),
        "{job}"
    );
    assert!(job["error"]["detail"].as_str().unwrap().contains("SIGSEGV"), "{job}");
    server.succeeded("format=png", DRAWING);
    let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
    for cause in ["crashed", "nonsense", "memory", "timeout", "panic"] {
        let counted = format!("minilab_children_ended_total{{cause=\"{cause}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&counted));
        assert!(line.is_some_and(|count| count != "0"), "{counted}is {line:?}");
    }
}

/// The job once it has ended, however many attempts that takes.
fn ended(server: &TestServer, id: &str) -> Value {
    let began = Instant::now();
    loop {
        let job = server.get(&format!("/v1/jobs/{id}?wait=5")).json();
        if job["finished_at"].is_string() {
            return job;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{job}");
    }
}
