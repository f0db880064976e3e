//! `minilab doctor` and `minilab backup`, on directories that a real server has filled, is using, or has left.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use minilab::client::{Client, JobFilter, Submission};
use minilab::job::Status;
use serde_json::{Value, json};

use crate::support::command::{Ended, ended, minilab};
use crate::support::images;
use crate::support::process::ServerProcess;

fn doctor(data: &Path, arguments: &[&str]) -> Ended {
    let mut command = minilab(data.parent().unwrap());
    ended(command.arg("doctor").arg("--data-dir").arg(data).args(arguments))
}

fn findings(ended: &Ended) -> Vec<String> {
    let document = ended.documents().remove(0);
    let kind = |finding: &Value| finding["kind"].as_str().unwrap().to_owned();
    document["findings"].as_array().unwrap().iter().map(kind).collect()
}

fn backup(data: &Path, target: &Path) -> Ended {
    let mut command = minilab(data.parent().unwrap());
    ended(command.arg("backup").arg(target).arg("--data-dir").arg(data).arg("--json"))
}

/// Jobs with small and large sources and outputs, all succeeded.
async fn fill(server: &ServerProcess) -> Vec<String> {
    let client = Client::new(&server.url).unwrap();
    let mut ids = Vec::new();
    for image in [images::small(), images::large(), images::large()] {
        let submission = Submission::bytes(image).query("format", "png");
        let id = client.submit(&submission).await.unwrap().id;
        let job = client.wait(&id, Some(Duration::from_secs(20)), |_| {}).await.unwrap();
        assert_eq!(job.status, Status::Succeeded);
        ids.push(id);
    }
    ids
}

/// Every file under `blobs`, sorted.
fn blobs(data: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![data.join("blobs")]);
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sound_directory_is_found_sound_and_damage_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = ServerProcess::start(&data, &[]);
    let ids = fill(&server).await;
    let beside = doctor(&data, &["--json"]).expect(0);
    let document = beside.documents().remove(0);
    assert_eq!((document["jobs"].as_u64(), document["images"].as_u64()), (Some(3), Some(6)));
    assert_eq!(findings(&beside), [] as [&str; 0]);
    let refused = doctor(&data, &["--repair"]).expect(1);
    assert!(refused.errors.contains("in use by another server"), "{}", refused.errors);
    server.kill();
    doctor(&data, &["--json"]).expect(0);

    let files = blobs(&data);
    assert_eq!(files.len(), 4, "two sources and two outputs: {files:?}");
    let (output, source) = (&files[0], &files[2]);
    let mut altered = std::fs::read(output).unwrap();
    altered[1000] ^= 1;
    std::fs::write(output, altered).unwrap();
    let shard = data.join("blobs/sources/01");
    std::fs::create_dir_all(&shard).unwrap();
    std::fs::rename(source, shard.join("01920000-0000-7000-8000-000000000001")).unwrap();
    std::fs::write(shard.join("01920000-0000-7000-8000-000000000001#7"), b"staged").unwrap();
    let found = doctor(&data, &["--repair", "--json"]).expect(1);
    let mut kinds = findings(&found);
    kinds.sort();
    assert_eq!(kinds, ["altered", "missing", "orphan", "orphan"]);
    assert_eq!(blobs(&data).len(), 3, "what belonged to nobody is gone");
    let again = doctor(&data, &[]).expect(1);
    for part in ["damage  job ", "is missing", "is not what was stored", "not sound"] {
        assert!(again.text().contains(part), "{part} is missing in {}", again.text());
    }
    // Who knows better removes the jobs; then all is well.
    let server = ServerProcess::start(&data, &[]);
    let client = Client::new(&server.url).unwrap();
    for id in &ids {
        client.delete(id).await.unwrap();
    }
    doctor(&data, &[]).expect(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn assets_in_rows_and_in_files_are_examined_and_copied() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = ServerProcess::start(&data, &[]);
    let client = Client::new(&server.url).unwrap();
    let mut ids = Vec::new();
    for logo in [images::small(), images::large()] {
        let overlay =
            json!({"operations": [{"op": "overlay", "input": "logo"}], "outputs": [{"format": "png"}]});
        let submission = Submission::bytes(images::small()).spec(overlay).asset_bytes("logo", logo);
        let id = client.submit(&submission).await.unwrap().id;
        let job = client.wait(&id, Some(Duration::from_secs(20)), |_| {}).await.unwrap();
        assert_eq!(job.status, Status::Succeeded, "{:?}", job.error);
        ids.push(id);
    }
    server.kill();
    let copy = directory.path().join("copy");
    backup(&data, &copy).expect(0);
    for directory in [&data, &copy] {
        let examined = doctor(directory, &["--repair", "--json"]).expect(0);
        assert_eq!(findings(&examined), [] as [&str; 0]);
        assert_eq!(examined.documents().remove(0)["images"], 6, "two sources, two assets, two outputs");
        let [file] = <[PathBuf; 1]>::try_from(blobs(directory)).unwrap();
        assert_eq!(std::fs::read(file).unwrap(), images::large(), "the asset that is too large for a row");
    }
    let [file] = <[PathBuf; 1]>::try_from(blobs(&copy)).unwrap();
    std::fs::rename(&file, file.with_extension("other")).unwrap();
    let found = doctor(&copy, &["--repair"]).expect(1);
    assert!(found.text().contains("the asset \"logo\" is missing"), "{}", found.text());
    assert_eq!(blobs(&copy), [] as [PathBuf; 0], "an asset that no job names is an orphan");
    let server = ServerProcess::start(&data, &[]);
    let client = Client::new(&server.url).unwrap();
    for id in &ids {
        client.delete(id).await.unwrap();
    }
    assert_eq!(blobs(&data), [] as [PathBuf; 0]);
}

#[test]
fn a_directory_without_a_store_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let refused = doctor(&directory.path().join("none"), &[]).expect(1);
    assert!(refused.errors.contains("there is no job store in"), "{}", refused.errors);
    assert!(!directory.path().join("none").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_taken_under_load_is_a_server_s_whole_directory() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = ServerProcess::start(&data, &[]);
    let before = fill(&server).await;
    let (is_over, submitted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (over, count, url) = (Arc::clone(&is_over), Arc::clone(&submitted), server.url.clone());
    let load = tokio::spawn(async move {
        let client = Client::new(&url).unwrap();
        while !over.load(Ordering::Acquire) {
            let number = count.fetch_add(1, Ordering::AcqRel);
            let image = if number % 2 == 0 { images::small() } else { images::large() };
            let id = client.submit(&Submission::bytes(image).query("format", "png")).await.unwrap().id;
            // Half of them go again, so that files vanish under the copy.
            if number % 4 < 2 {
                client.delete(&id).await.unwrap();
            }
        }
    });
    let mut copies = Vec::new();
    while copies.len() < 5 || (submitted.load(Ordering::Acquire) < 8 && copies.len() < 50) {
        let number = copies.len();
        let (target, source) = (directory.path().join(format!("copy{number}")), data.clone());
        let target = tokio::task::spawn_blocking(move || {
            backup(&source, &target).expect(0);
            target
        });
        copies.push(target.await.unwrap());
    }
    let occupied = backup(&data, &copies[0]).expect(1);
    assert!(occupied.errors.contains("it is not empty"), "{}", occupied.errors);
    is_over.store(true, Ordering::Release);
    load.await.unwrap();
    assert!(submitted.load(Ordering::Acquire) >= 8);
    server.kill();
    for copy in &copies {
        let examined = doctor(copy, &["--json"]).expect(0);
        assert_eq!(findings(&examined), [] as [&str; 0]);
    }
    let restored = ServerProcess::start(&copies[4], &[]);
    let client = Client::new(&restored.url).unwrap();
    for id in before {
        let mut bytes = Vec::new();
        let downloaded = client.download_to(&id, "output", &mut bytes).await.unwrap();
        assert_eq!(downloaded.sha256, client.get(&id).await.unwrap().outputs[0].sha256);
    }
    let jobs = client.list(&JobFilter::default()).await.unwrap().jobs;
    for job in jobs {
        let job = client.wait(&job.id, Some(Duration::from_secs(30)), |_| {}).await.unwrap();
        assert_eq!(job.status, Status::Succeeded, "{:?}", job.error);
    }
    assert!(copies[4].join("keys.toml").is_file(), "receivers still know the signatures");
}
