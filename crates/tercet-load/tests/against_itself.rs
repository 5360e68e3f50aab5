//! The generator against its own servers: every mode brings figures, and a server that lies is found out.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tercet-load");

fn load(words: &[&str]) -> Output {
    Command::new(PROGRAM).args(words).stdin(Stdio::null()).output().expect("the program starts")
}

/// The figure called `name` of a run that went well.
fn figure(words: &[&str], name: &str) -> f64 {
    let output = load(words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    report[name].as_f64().expect("a figure")
}

fn complaint(words: &[&str]) -> String {
    let output = load(words);
    assert!(!output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).expect("text")
}

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn new(words: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.arg("serve").args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut address = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut address).expect("an address");
        Server { child, address: address.trim().to_owned() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("an end").success());
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tercet-load-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn messages_come_back_over_tcp() {
    let server = Server::new(&["echo", "tcp:127.0.0.1:0"]);
    for size in ["1", "1024", "1000000"] {
        let words = ["echo", &server.address, "--size", size, "--connections", "5", "--messages", "50"];
        assert!(figure(&words, "count") == 50.0);
    }
}

#[test]
fn connections_come_and_go() {
    let server = Server::new(&["echo", "tcp:127.0.0.1:0"]);
    let words = ["echo", &server.address, "--connections", "3", "--close-after", "2", "--messages", "200"];
    assert!(figure(&words, "count") == 200.0);
}

#[test]
fn messages_come_back_over_a_unix_socket() {
    let folder = Folder::new("unix");
    let server = Server::new(&["echo", &format!("unix:{}", folder.file("door"))]);
    assert!(figure(&["echo", &server.address, "--connections", "5", "--messages", "50"], "count") == 50.0);
}

#[test]
fn messages_come_back_as_datagrams() {
    let server = Server::new(&["echo", "udp:127.0.0.1:0"]);
    assert!(figure(&["echo", &server.address, "--connections", "5", "--messages", "50"], "count") == 50.0);
}

#[test]
fn messages_come_back_over_tls() {
    let folder = Folder::new("tls");
    assert!(load(&["certificate", &folder.file("")]).status.success());
    let server = Server::new(&["echo", "tcp:127.0.0.1:0", "--tls", &folder.file("")]);
    let certificate = folder.file("certificate.pem");
    for size in ["1", "300000"] {
        let words = ["echo", &server.address, "--certificate", &certificate, "--size", size, "--connections", "3"];
        assert!(figure(&[&words[..], &["--messages", "30"]].concat(), "count") == 30.0);
    }
}

#[test]
fn pages_come_whole() {
    let server = Server::new(&["http", "tcp:127.0.0.1:0", "--page", "Hello"]);
    let words = ["http", &server.address, "--expect", "Hello", "--messages", "50", "--connections", "5"];
    assert!(figure(&words, "count") == 50.0);
    let words = ["http", &server.address, "--expect", "Another", "--messages", "50"];
    assert!(complaint(&words).contains("not understood"));
}

#[test]
fn streams_flow_in_both_directions() {
    let short = ["--seconds", "0.2", "--warm-seconds", "0"];
    for (service, mode) in [("send", "receive"), ("receive", "send")] {
        let server = Server::new(&[service, "tcp:127.0.0.1:0"]);
        let words = [&[mode, &server.address, "--connections", "2"][..], &short].concat();
        assert!(figure(&words, "bytes") > 1e6);
    }
}

#[test]
fn open_connections_stay_until_the_input_ends() {
    let server = Server::new(&["echo", "tcp:127.0.0.1:0"]);
    let output = load(&["idle", &server.address, "--connections", "20"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), r#"{"version": 1, "connections": 20}"#);
}

#[test]
fn the_pattern_is_a_file_of_whole_periods() {
    let folder = Folder::new("pattern");
    assert!(load(&["pattern", &folder.file("bytes"), "2"]).status.success());
    let bytes = std::fs::read(Path::new(&folder.file("bytes"))).expect("a file");
    assert_eq!(bytes[..bytes.len() / 2], bytes[bytes.len() / 2..]);
}

/// Answer one connection with what it sent, one bit of its last byte changed.
fn serve_lies(listener: &TcpListener) {
    let (mut guest, _) = listener.accept().expect("a guest");
    let mut message = [0; 64];
    guest.read_exact(&mut message).expect("a message");
    message[63] ^= 1;
    guest.write_all(&message).expect("room");
    let _ = guest.read(&mut message);
}

#[test]
fn a_wrong_byte_ends_the_run() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("tcp:{}", listener.local_addr().expect("an address"));
    let liar = std::thread::spawn(move || serve_lies(&listener));
    assert!(complaint(&["echo", &address, "--size", "64"]).contains("another byte than it was sent, at byte 63"));
    liar.join().expect("an end");
}

#[test]
fn nobody_there_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("tcp:{}", listener.local_addr().expect("an address"));
    drop(listener);
    assert!(complaint(&["echo", &address]).contains("could not connect"));
}
