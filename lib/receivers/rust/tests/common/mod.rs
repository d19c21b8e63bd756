//! The vectors of docs/vectors.json, and a key server.
#![allow(dead_code, reason = "each test uses some of it")]

use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use signpost_receiver::{Error, Event, KeySet, Receiver, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

pub static FILE: LazyLock<Value> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/vectors.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
});

pub fn vectors() -> &'static [Value] {
    FILE["vectors"].as_array().unwrap()
}

pub fn vector_of(name: &str) -> &'static Value {
    vectors().iter().find(|one| one["name"] == name).unwrap()
}

pub fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// The settings of a vector's receiver, without keys.
pub fn settings_of(vector: &Value) -> Settings {
    let receiver = &vector["receiver"];
    Settings {
        secrets: receiver["secrets"].as_array().into_iter().flatten().filter_map(text).collect(),
        endpoint: text(&receiver["endpoint"]),
        url: text(&receiver["url"]),
        algorithm: receiver["algorithm"].as_str().map(|name| name.parse().unwrap()),
        tolerance: Duration::from_secs(FILE["toleranceSeconds"].as_u64().unwrap()),
        ..Settings::default()
    }
}

pub fn with_keys(vector: &Value) -> Settings {
    let name = vector["receiver"]["keySet"].as_str();
    let keys = name.map(|name| KeySet::fixed(&FILE["keySets"][name].to_string()).unwrap());
    Settings { keys, ..settings_of(vector) }
}

/// Makes a receiver whose clock says what the vector says.
pub fn at_time_of(vector: &Value, settings: Settings) -> Receiver {
    let now = UNIX_EPOCH + Duration::from_secs(vector["now"].as_u64().unwrap());
    Receiver::new(settings).unwrap().with_clock(move || now)
}

pub fn headers_of(vector: &Value) -> Vec<(String, String)> {
    let pairs = vector["request"]["headers"].as_array().unwrap();
    pairs.iter().map(|pair| (text(&pair[0]).unwrap(), text(&pair[1]).unwrap())).collect()
}

pub fn body_of(vector: &Value) -> Vec<u8> {
    STANDARD.decode(vector["request"]["body"].as_str().unwrap()).unwrap()
}

pub async fn verify(receiver: &Receiver, vector: &Value) -> Result<Event, Error> {
    let request = &vector["request"];
    let (url, method) = (request["url"].as_str(), request["method"].as_str().unwrap());
    receiver.verify(headers_of(vector), &body_of(vector), url, method).await
}

/// A key server. Its next answers are in `state`.
pub struct Server {
    pub url: String,
    pub state: Arc<State>,
    task: JoinHandle<()>,
}

pub struct State {
    pub body: Mutex<String>,
    pub headers: Mutex<String>,
    pub status: Mutex<u16>,
    pub requests: Mutex<Vec<String>>,
    /// A request is answered when it gets a permit.
    pub gate: Semaphore,
    pub drips: Mutex<bool>,
}

impl Server {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/tenants/acme/.well-known/jwks.json", listener.local_addr().unwrap());
        let state = Arc::new(State {
            body: Mutex::new(FILE["keySets"]["acme"].to_string()),
            headers: Mutex::new("cache-control: public, max-age=60\r\n".to_owned()),
            status: Mutex::new(200),
            requests: Mutex::default(),
            gate: Semaphore::new(1_000),
            drips: Mutex::new(false),
        });
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move { drop(answer(stream, &state).await) }); // The client may have given up.
            }
        });
        Self { url, state, task }
    }

    pub fn requests(&self) -> usize {
        self.state.requests.lock().unwrap().len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let request = String::from_utf8(request).unwrap().to_lowercase();
    state.requests.lock().unwrap().push(request.clone());
    state.gate.acquire().await.unwrap().forget();
    let (mut body, headers) = (state.body.lock().unwrap().clone(), state.headers.lock().unwrap().clone());
    let mut status = *state.status.lock().unwrap();
    if status == 200 && headers.contains("etag: \"1\"") && request.contains("if-none-match: \"1\"") {
        (status, body) = (304, String::new());
    }
    let head =
        format!("HTTP/1.1 {status} Answer\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    if !*state.drips.lock().unwrap() {
        return stream.write_all(body.as_bytes()).await;
    }
    for byte in body.into_bytes() {
        stream.write_all(&[byte]).await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
