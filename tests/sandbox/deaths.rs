//! Children that are killed, stopped and lost while the real server is busy; and a server that is.

use std::path::Path;
use std::time::Duration;

use minilab::client::{Client, Submission};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::support::images;
use super::support::process::ServerProcess;
use super::support::raw;

/// The server's children, by their process ids.
fn children(server: u32) -> Vec<Pid> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let entry = entry.ok()?;
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // "pid (name) state parent …": the name may hold anything.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let (state, parent) = (fields.next()?, fields.next()?);
        (parent.parse() == Ok(server) && state != "Z").then(|| Pid::from_raw(pid)).flatten()
    });
    processes.collect()
}

fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// Whether a list of system calls holds for it.
fn is_walled_in(pid: Pid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()));
    status.is_ok_and(|status| status.contains("Seccomp:\t2"))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn spec() -> Value {
    json!({
        "timeout": "2s", "operations": [{"op": "resize", "width": 300}, {"op": "blur", "sigma": 2}],
        "outputs": [{"format": "webp"}, {"format": "png"}],
    })
}

/// How many jobs ended so: well, or for want of luck; and how many attempts more than one each that took.
async fn ended(client: &Client, ids: &[String]) -> (usize, usize, usize) {
    let (mut succeeded, mut unlucky, mut again) = (0, 0, 0);
    for id in ids {
        let job = client.wait(id, Some(Duration::from_secs(120)), |_| {}).await.unwrap();
        let code = job.error.as_ref().map(|error| error.code.clone());
        again += job.attempts.len().saturating_sub(1);
        match (job.status.name(), code.as_deref()) {
            ("succeeded", _) => succeeded += 1,
            // Whoever is hit three times in a row, or stopped twice, has had no luck.
            ("failed", Some("crashed" | "timeout")) => unlucky += 1,
            _ => panic!("{job:?}"),
        }
    }
    (succeeded, unlucky, again)
}

pub(crate) fn children_die_under_load() {
    let kills: usize = std::env::var("TEST_SANDBOX_KILLS").map_or(25, |text| text.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let mut server = ServerProcess::start(directory.path(), &["--workers", "2", "--isolation", "process"]);
    let image = images::large();
    runtime().block_on(async {
        let client = Client::new(&server.url).unwrap();
        let signals = [Signal::KILL, Signal::SEGV, Signal::STOP, Signal::KILL, Signal::SEGV];
        let (mut ids, mut hit) = (Vec::new(), 0);
        for number in 0..kills {
            for _ in 0..3 {
                ids.push(client.submit(&Submission::bytes(image.clone()).spec(spec())).await.unwrap().id);
            }
            let children = children(server.pid());
            if let Some(child) = children.get(rand::random_range(0..children.len().max(1))) {
                // It may have ended by itself.
                hit += usize::from(kill_process(*child, signals[number % signals.len()]).is_ok());
            }
        }
        let (succeeded, unlucky, again) = ended(&client, &ids).await;
        let all = ids.len();
        println!(
            "{kills} children killed, {hit} of them there: {all} jobs, {succeeded} succeeded, {unlucky} gave up, {again} tries more"
        );
        assert_eq!(succeeded + unlucky, all);
        assert!(unlucky * 5 <= ids.len(), "{unlucky} of {} had no luck", ids.len());
    });
    assert!(server.is_running(), "the server has ended");
    assert!(children(server.pid()).len() <= 2, "children were left behind");
}

/// A look whose child is killed by somebody else is taken again, and nobody notices.
pub(crate) fn looks_outlive_their_children() {
    const DRAWING: &str = "<svg xmlns='http://www.w3.org/2000/svg' width='40' height='30'>";
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &["--workers", "1", "--isolation", "process"]);
    let drawing = format!("{DRAWING}{}</svg>", "<path d='M0 0h9v9'/>".repeat(2_000));
    let dry_run = "/v1/jobs?dry_run=true&format=png";
    let mut killed = 0;
    while killed < 8 {
        let look = || raw::request(&server.url, "POST", dry_run, &[], drawing.as_bytes());
        let answer = std::thread::scope(|scope| {
            let looking = scope.spawn(look);
            // Once per look: whoever is hit twice has had no luck.
            let children = children(server.pid());
            if let Some(child) = children.get(rand::random_range(0..children.len().max(1))) {
                killed += usize::from(kill_process(*child, Signal::KILL).is_ok());
            }
            looking.join().unwrap()
        });
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    }
}

pub(crate) fn the_servers_death_makes_no_suspects() {
    let directory = tempfile::tempdir().unwrap();
    let slow = json!({"timeout": "60s", "outputs": [{"format": "avif", "effort": 9}]});
    let image = images::picture(image::ImageFormat::Png, 1200, 900, 3);
    let id = runtime().block_on(async {
        let mut id = None;
        // Thread mode would fail it at the third death, and run it alone before.
        for _ in 0..4 {
            let server =
                ServerProcess::start(directory.path(), &["--workers", "1", "--isolation", "process"]);
            let client = Client::new(&server.url).unwrap();
            if id.is_none() {
                let job = client.submit(&Submission::bytes(image.clone()).spec(slow.clone())).await.unwrap();
                id = Some(job.id);
            }
            running(&client, id.as_ref().unwrap()).await;
            server.kill();
        }
        id.unwrap()
    });
    let server = ServerProcess::start(directory.path(), &["--workers", "1", "--isolation", "process"]);
    runtime().block_on(async {
        let client = Client::new(&server.url).unwrap();
        running(&client, &id).await;
        client.cancel(&id).await.unwrap();
        let job = client.wait(&id, Some(Duration::from_secs(30)), |_| {}).await.unwrap();
        let ends: Vec<String> = job.attempts.iter().map(|attempt| attempt.status.clone()).collect();
        assert_eq!(
            (job.status.name(), ends),
            ("cancelled", ["lost", "lost", "lost", "lost", "cancelled"].map(str::to_owned).to_vec())
        );
    });
}

/// Waits until an attempt is under way in a child.
async fn running(client: &Client, id: &str) {
    loop {
        let job = client.get(id).await.unwrap();
        if job.status.name() == "running" {
            return;
        }
        assert!(!job.status.is_terminal(), "{job:?}");
        tokio::task::yield_now().await;
    }
}

/// A job that keeps a child busy, and that child.
fn busy(server: &ServerProcess) -> (String, Pid) {
    let slow = json!({"timeout": "60s", "outputs": [{"format": "avif", "effort": 9}]});
    let image = images::picture(image::ImageFormat::Png, 1200, 900, 3);
    let id = runtime().block_on(async {
        let client = Client::new(&server.url).unwrap();
        let id = client.submit(&Submission::bytes(image).spec(slow)).await.unwrap().id;
        running(&client, &id).await;
        id
    });
    loop {
        if let Some(child) = children(server.pid()).into_iter().find(|child| is_walled_in(*child)) {
            return (id, child);
        }
    }
}

/// What the kernel says of a process, by the name of a line.
fn told(child: Pid, file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{}/{file}", child.as_raw_nonzero())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).split_whitespace().next().unwrap().to_owned()
}

pub(crate) fn walls_stand_while_a_job_runs() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &["--workers", "1", "--isolation", "process"]);
    let (_, child) = busy(&server);
    // The job is under way as soon as it is claimed, and has its limits a moment later.
    while told(child, "limits", "Max address space") == "unlimited" {
        std::thread::yield_now();
    }
    for (file, name, expected) in [
        ("status", "NoNewPrivs:", "1"),
        ("status", "Seccomp:", "2"),
        ("status", "Threads:", "1"),
        ("limits", "Max core file size", "0"),
        ("limits", "Max open files", "64"),
    ] {
        assert_eq!(told(child, file, name), expected, "{name}");
    }
    assert_eq!(told(child, "oom_score_adj", ""), "500");
    let limit = |name: &str| told(child, "limits", name).parse::<u64>();
    let mapped = 4096 * told(child, "statm", "").parse::<u64>().unwrap();
    let space = limit("Max address space").unwrap();
    assert!(space > mapped && space < mapped + (1 << 30), "{space} of which {mapped} are mapped");
    let file = limit("Max file size").unwrap();
    assert!(file < 512 << 20, "{file}");
    // A minute, and what had passed before.
    assert!((61..130).contains(&limit("Max cpu time").unwrap()));
    let nice = |pid: Option<Pid>| rustix::process::getpriority_process(pid).unwrap();
    let own = nice(Pid::from_raw(server.pid().try_into().unwrap()));
    assert!(nice(Some(child)) > own || own == 19, "{} is not lower than {own}", nice(Some(child)));
    // Nothing but the three that every process has, its output and the job's source.
    let open = std::fs::read_dir(format!("/proc/{}/fd", child.as_raw_nonzero())).unwrap().count();
    assert!(open <= 5, "{open} descriptors");
}

/// How many there are of a metric.
fn metric(server: &ServerProcess, name: &str) -> u64 {
    let text = String::from_utf8(raw::request(&server.url, "GET", "/metrics", &[], b"").body).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |number| number.trim().parse().unwrap())
}

fn run(server: &ServerProcess, jobs: usize) {
    let image = images::small();
    for _ in 0..jobs {
        let job = raw::request(&server.url, "POST", "/v1/jobs?format=png&wait=30", &[], &image).json();
        assert_eq!(job["status"], "succeeded", "{job}");
    }
}

pub(crate) fn children_are_recycled_and_counted() {
    const RECYCLED: &str = "minilab_children_ended_total{cause=\"recycled\"}";
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &["--workers", "1", "--isolation", "process"]);
    run(&server, 99);
    let counts = |server: &ServerProcess| {
        [
            metric(server, "minilab_children_started_total"),
            metric(server, RECYCLED),
            metric(server, "minilab_children_alive"),
        ]
    };
    assert_eq!(counts(&server), [1, 0, 1]);
    run(&server, 2);
    assert_eq!(counts(&server), [2, 1, 1]);
    let [child] = children(server.pid())[..] else { panic!("one is to be alive") };
    kill_process(child, Signal::KILL).unwrap();
    // It may not have died yet.
    gone(child, directory.path());
    run(&server, 1);
    assert_eq!(counts(&server), [3, 1, 1]);
    assert_eq!(metric(&server, "minilab_children_ended_total{cause=\"lost\"}"), 1);
    drop(server);
    let directory = tempfile::tempdir().unwrap();
    let server =
        ServerProcess::start(directory.path(), &["--workers", "1", "--isolation", "process-per-job"]);
    run(&server, 5);
    // The first has reported at the start and waits for the first job.
    assert_eq!(counts(&server), [5, 5, 0]);
}

pub(crate) fn children_end_with_their_server() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &["--workers", "1", "--isolation", "process"]);
    let (_, child) = busy(&server);
    server.kill();
    gone(child, directory.path());
}

/// Within the server, and where the kernel groups processes by session, beside every other program of the machine, too.
pub(crate) fn children_give_way_to_everybody() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &["--workers", "1", "--isolation", "process"]);
    let (_, child) = busy(&server);
    let own = rustix::process::getpriority_process(None).unwrap();
    let nice = rustix::process::getpriority_process(Some(child)).unwrap();
    assert_eq!(nice, (own + 10).min(19));
    assert_eq!(rustix::process::getsid(Some(child)).unwrap(), child);
    let group = std::fs::read_to_string(format!("/proc/{}/autogroup", child.as_raw_nonzero()));
    if let Ok(group) = group.as_deref().map(str::trim)
        && !group.is_empty()
    {
        assert!(group.ends_with(&format!("nice {nice}")), "{group}");
    }
}

pub(crate) fn a_cancel_ends_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &["--workers", "1", "--isolation", "process"]);
    let (id, child) = busy(&server);
    // What a terminal or a service manager sends to everybody is the server's to heed.
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        kill_process(child, signal).unwrap();
    }
    runtime().block_on(async {
        let client = Client::new(&server.url).unwrap();
        let began = std::time::Instant::now();
        client.cancel(&id).await.unwrap();
        let job = client.wait(&id, Some(Duration::from_secs(30)), |_| {}).await.unwrap();
        // An encoder that hears nothing would go on for a minute; this is some 30 ms on an idle machine.
        assert!(began.elapsed() < Duration::from_secs(5), "cancelled after {:?}", began.elapsed());
        let ends: Vec<&str> = job.attempts.iter().map(|attempt| attempt.status.as_str()).collect();
        assert_eq!((job.status.name(), &ends[..]), ("cancelled", &["cancelled"][..]));
    });
    gone(child, directory.path());
}

/// Waits until a process has ended.
fn gone(child: Pid, directory: &Path) {
    let began = std::time::Instant::now();
    while is_alive(child) {
        assert!(began.elapsed() < Duration::from_secs(10), "it lives on after {}", directory.display());
        std::thread::yield_now();
    }
}
