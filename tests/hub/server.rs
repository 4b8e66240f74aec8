//! A hub on this machine: answers as the Hugging Face hub does to what is asked for a download, and misbehaves on demand.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use sha2::Sha256;

/// What a request asked for and what it got.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub method: String,
    /// Decoded, without the query.
    pub path: String,
    /// Whether a listing of all folders was asked for.
    pub recursive: bool,
    /// First byte asked for.
    pub from: usize,
    pub token: Option<String>,
    /// Bytes of content that were sent.
    pub sent: usize,
}

/// What to do instead of answering.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A status, with the code by which the hub explains it.
    Status(u16, &'static str),
    /// Close the connection after this many bytes of the content.
    Cut(usize),
    /// Answer with this page.
    Page(&'static str),
    /// Send other content of the same length.
    Garbage,
    /// Send all of it, whatever part is asked for.
    Whole,
    /// Send nothing for longer than a test waits.
    Stall,
}

type Misbehaviour = dyn Fn(&Asked) -> Option<Fault> + Send;

/// A file of a repository.
#[derive(Clone, Debug)]
struct File {
    content: Vec<u8>,
    /// Kept outside of git, as the hub does with all large or binary files.
    large: bool,
}

#[derive(Clone, Debug, Default)]
struct Repository {
    files: BTreeMap<String, File>,
    commit: String,
    /// Other names of the commit than `main` and itself.
    revisions: Vec<String>,
}

#[derive(Default)]
struct State {
    /// By kind and name, as `models/org/name`.
    repositories: BTreeMap<String, Repository>,
    asked: Vec<Asked>,
    misbehaviour: Option<Box<Misbehaviour>>,
    closed: bool,
}

/// The server; it ends when it is dropped.
pub struct Server {
    state: Arc<Mutex<State>>,
    port: u16,
    thread: Option<JoinHandle<()>>,
}

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if lock(&shared).closed {
                    return;
                }
                let (state, stream) = (shared.clone(), stream.expect("a connection"));
                // A client that goes away is no fault of the server.
                std::thread::spawn(move || drop(serve(&state, port, stream)));
            }
        });
        Self { state, port, thread: Some(thread) }
    }

    /// With the files of a folder as `lab/tiny`, at [`COMMIT`].
    pub fn with(folder: &str) -> Self {
        let server = Self::start();
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).expect("the folder is there") {
            let path = entry.expect("readable").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            server.put("models/lab/tiny", &name, &fs::read(&path).expect("readable"));
        }
        server
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Adds a file to a repository, or replaces it.
    pub fn put(&self, repository: &str, name: &str, content: &[u8]) {
        let large = [".safetensors", ".bin", ".parquet"].iter().any(|ending| name.ends_with(ending));
        let mut state = lock(&self.state);
        let repository = state.repositories.entry(repository.to_owned()).or_default();
        repository.files.insert(name.to_owned(), File { content: content.to_vec(), large });
        if repository.commit.is_empty() {
            repository.commit = COMMIT.to_owned();
        }
    }

    pub fn remove(&self, repository: &str, name: &str) {
        lock(&self.state).repositories.get_mut(repository).and_then(|r| r.files.remove(name)).expect("it was there");
    }

    /// Calls the state of a repository by another commit.
    pub fn commit(&self, repository: &str, commit: &str) {
        lock(&self.state).repositories.get_mut(repository).expect("it is there").commit = commit.to_owned();
    }

    pub fn revision(&self, repository: &str, revision: &str) {
        let mut state = lock(&self.state);
        state.repositories.get_mut(repository).expect("it is there").revisions.push(revision.to_owned());
    }

    /// From now on, what this says is done instead of answering.
    pub fn misbehave(&self, how: impl Fn(&Asked) -> Option<Fault> + Send + 'static) {
        lock(&self.state).misbehaviour = Some(Box::new(how));
    }

    pub fn behave(&self) {
        lock(&self.state).misbehaviour = None;
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.state).asked.clone()
    }

    /// Bytes of content that were sent from here.
    pub fn sent(&self) -> usize {
        self.asked().iter().map(|asked| asked.sent).sum()
    }

    pub fn forget(&self) {
        lock(&self.state).asked.clear();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        lock(&self.state).closed = true;
        // Wakes the thread up.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What git calls a file.
pub fn git_name(content: &[u8]) -> String {
    hex(&Sha1::new_with_prefix(format!("blob {}\0", content.len())).chain_update(content).finalize())
}

pub fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

impl Repository {
    fn is(&self, revision: &str) -> bool {
        revision == "main" || revision == self.commit || self.revisions.iter().any(|r| r == revision)
    }

    fn tree(&self, folder: &str, recursive: bool) -> Value {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        // A name that leads out of the repository is told like any other: a client must not trust it.
        let own = |name: &str| {
            name.strip_prefix(&prefix).is_some_and(|rest| recursive || rest.contains("..") || !rest.contains('/'))
        };
        let entries = self.files.iter().filter(|(name, _)| own(name)).map(|(name, file)| {
            let (oid, size) = (sha256(&file.content), file.content.len());
            if !file.large {
                return json!({"type": "file", "oid": git_name(&file.content), "size": size, "path": name});
            }
            let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n");
            let lfs = json!({"oid": oid, "size": size, "pointerSize": pointer.len()});
            json!({"type": "file", "oid": git_name(pointer.as_bytes()), "size": size, "lfs": lfs, "path": name})
        });
        entries.collect()
    }
}

/// An answer on its way.
struct Answer {
    status: u16,
    headers: String,
    content: Vec<u8>,
}

impl Answer {
    fn status(status: u16, code: &str) -> Self {
        Self { status, headers: format!("X-Error-Code: {code}\r\n"), content: b"{\"error\": \"no\"}".to_vec() }
    }

    fn json(value: &Value) -> Self {
        Self {
            status: 200,
            headers: "Content-Type: application/json\r\n".to_owned(),
            content: value.to_string().into(),
        }
    }

    fn redirect(to: &str, headers: String) -> Self {
        Self { status: 302, headers: format!("{headers}Location: {to}\r\n"), content: b"elsewhere".to_vec() }
    }

    fn file(asked: &Asked, content: &[u8]) -> Self {
        let (from, size) = (asked.from.min(content.len()), content.len());
        let (status, headers) = match from {
            0 => (200, String::new()),
            _ => (206, format!("Content-Range: bytes {from}-{}/{size}\r\n", size - 1)),
        };
        Self { status, headers, content: content[from..].to_vec() }
    }
}

/// One request, one answer.
fn serve(state: &Mutex<State>, port: u16, mut stream: TcpStream) -> std::io::Result<()> {
    let mut asked = read(&stream)?;
    let fault = lock(state).misbehaviour.as_ref().and_then(|how| how(&asked));
    if matches!(fault, Some(Fault::Whole)) {
        asked.from = 0;
    }
    let mut answer = answer(&lock(state), &asked, port);
    let mut limit = usize::MAX;
    match fault {
        Some(Fault::Status(status, code)) => answer = Answer::status(status, code),
        Some(Fault::Page(page)) => {
            answer = Answer { status: 200, headers: "Content-Type: text/html\r\n".to_owned(), content: page.into() };
        }
        Some(Fault::Garbage) => answer.content.fill(b'x'),
        Some(Fault::Cut(after)) => limit = after,
        Some(Fault::Stall) => limit = 0,
        Some(Fault::Whole) | None => {}
    }
    let content = if asked.method == "HEAD" { &[] } else { &answer.content[..limit.min(answer.content.len())] };
    if asked.path.starts_with("/cdn") || asked.path.contains("/resolve") {
        asked.sent = if answer.status < 300 { content.len() } else { 0 };
    }
    lock(state).asked.push(asked);
    let (status, headers, length) = (answer.status, &answer.headers, answer.content.len());
    write!(stream, "HTTP/1.1 {status} -\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n")?;
    stream.write_all(content)?;
    stream.flush()?;
    if matches!(fault, Some(Fault::Stall)) {
        while !lock(state).closed {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    // What the client has sent is read, so that it gets the answer before the connection is closed.
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.read(&mut [0; 64]).map(drop)
}

fn read(stream: &TcpStream) -> std::io::Result<Asked> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = decoded(target.split('?').next().unwrap_or_default());
    let recursive = target.split(['?', '&']).any(|part| part.eq_ignore_ascii_case("recursive=true"));
    let mut asked = Asked { method, path, recursive, ..Asked::default() };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        match name.to_lowercase().as_str() {
            "authorization" => asked.token = Some(value.to_owned()),
            "range" => {
                let from = value.strip_prefix("bytes=").and_then(|range| range.split('-').next());
                asked.from = from.and_then(|from| from.parse().ok()).expect("a range of bytes");
            }
            _ => {}
        }
    }
    Ok(asked)
}

fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_at(2);
        out.push(char::from(u8::from_str_radix(code, 16).expect("two digits")));
        out.push_str(rest);
    }
    out
}

fn answer(state: &State, asked: &Asked, port: u16) -> Answer {
    let path = &asked.path;
    // Contents lie with another host, which is not to learn the token.
    if let Some(hash) = path.strip_prefix("/cdn/") {
        let mut files = state.repositories.values().flat_map(|repository| repository.files.values());
        let file = files.find(|file| sha256(&file.content) == hash).expect("it was linked to");
        return Answer::file(asked, &file.content);
    }
    for (name, repository) in &state.repositories {
        let plain = format!("/{}/resolve/", name.strip_prefix("models/").unwrap_or(name));
        if let Some(rest) = path.strip_prefix(&format!("/api/{name}/revision/")) {
            return if repository.is(rest) {
                Answer::json(&json!({"_id": "1", "id": name, "sha": repository.commit, "private": false}))
            } else {
                Answer::status(404, "RevisionNotFound")
            };
        }
        if let Some(rest) = path.strip_prefix(&format!("/api/{name}/tree/{}", repository.commit)) {
            return Answer::json(&repository.tree(rest.trim_matches('/'), asked.recursive));
        }
        let cached = format!("/api/resolve-cache/{name}/");
        if let Some(rest) = path.strip_prefix(&plain).or_else(|| path.strip_prefix(&cached)) {
            let file = rest.strip_prefix(&repository.commit).and_then(|rest| rest.strip_prefix('/'));
            let Some((file, found)) = file.and_then(|file| Some((file, repository.files.get(file)?))) else {
                return Answer::status(404, "EntryNotFound");
            };
            let (hash, size) = (sha256(&found.content), found.content.len());
            let linked = format!("X-Repo-Commit: {COMMIT}\r\nX-Linked-ETag: \"{hash}\"\r\nX-Linked-Size: {size}\r\n");
            return match (found.large, path.starts_with(&plain)) {
                (true, _) => Answer::redirect(&format!("http://localhost:{port}/cdn/{hash}"), linked),
                (false, true) => Answer::redirect(&format!("{cached}{}/{file}", repository.commit), String::new()),
                (false, false) => Answer::file(asked, &found.content),
            };
        }
    }
    Answer::status(404, "RepoNotFound")
}
