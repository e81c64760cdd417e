//! nginx with two workers: files by sendfile and by copying, a proxy in front of itself, a reload under load.

use super::proof::{Proof, Way};
use super::stage::{LEAST_BYTES_OF_EACH_WORKER, Stage, TRIES, fingerprint, printable};
use std::process::Command;

/// By ring, at the address where the kernel deals the connections of one wrk, fifty, out to two workers: one of them has
/// fewer than four of fifty once in 10^10.
const BYTES_DEALT_OUT: u64 = 16 * LEAST_BYTES_OF_EACH_WORKER;

fn configuration(directory: &str, port: u16, dealt_out: u16) -> String {
    format!(
        "daemon off; master_process on; worker_processes 2; user root; pid {directory}/nginx.pid;
error_log {directory}/error.log notice;
events {{ worker_connections 1024; }}
http {{
  access_log off; default_type application/octet-stream; keepalive_requests 1000000; keepalive_timeout 30;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  upstream itself {{ server 127.0.0.1:{port}; keepalive 8; }}
  server {{
    listen 127.0.0.1:{port};
    location /sendfile/ {{ alias {directory}/files/; sendfile on; }}
    location /copied/ {{ alias {directory}/files/; sendfile off; }}
    location /proxied/ {{ proxy_pass http://itself/copied/; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}
  }}
  server {{
    listen 127.0.0.1:{dealt_out} reuseport;
    location /sendfile/ {{ alias {directory}/files/; sendfile on; }}
  }}
}}
"
    )
}

fn curl(port: u16, paths: &[String]) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--noproxy", "*"]);
    for path in paths {
        command.arg(format!("http://127.0.0.1:{port}{path}"));
    }
    command
}

fn wrk(port: u16, path: &str, connections: u32, seconds: u64) -> Command {
    let mut command = Command::new("wrk");
    command.args(["-t", "2", "-c", &connections.to_string()]);
    // By itself it calls an answer that takes two seconds an error.
    command.args(["-d", &format!("{seconds}s"), "--timeout", "60s"]);
    command.arg(format!("http://127.0.0.1:{port}{path}"));
    command
}

/// The line of wrk's output with the rate, and its complaints.
fn wrk_result(text: &str) -> (String, String) {
    let pick = |start: &str| {
        text.lines()
            .find(|line| line.trim_start().starts_with(start))
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .unwrap_or_default()
    };
    let complaints = [pick("Socket errors"), pick("Non-2xx")].concat();
    (pick("Requests/sec"), complaints)
}

/// Hashed answers over kept-alive connections, load without errors, a reload that loses no request.
pub fn check(stage: &mut Stage) -> Result<(), String> {
    let port = stage.reserve_port()?;
    let dealt_out = stage.reserve_port()?;
    let directory = stage.directory().display().to_string();
    stage.file("files/small", &printable(1, 1 << 10))?;
    stage.file("files/large", &printable(2, 1 << 20))?;
    let configuration = stage.file(
        "nginx.conf",
        configuration(&directory, port, dealt_out).as_bytes(),
    )?;
    let mut command = Command::new("nginx");
    command.args(["-p", &directory, "-c"]).arg(configuration);
    stage.server("nginx", &mut command, port)?;
    load_each_worker(stage, dealt_out)?;

    for kind in ["sendfile", "copied", "proxied"] {
        for size in ["small", "large"] {
            let path = format!("/{kind}/{size}");
            // The first four or five by the kernel, as any connection's.
            let mut command = curl(port, &vec![path.clone(); 100]);
            let output = stage.client("curl", &mut command, b"")?.good("curl")?;
            let label = format!("curl {path}, 100 times on one connection");
            stage.answer(&label, fingerprint(&output.bytes));
            let least_percent = if size == "small" { 90 } else { 80 };
            stage.proves_ring(&label, &output, least_percent, &mut command, b"")?;
        }
        let path = format!("/{kind}/small");
        let mut command = wrk(port, &path, 50, 2);
        let output = stage.client("wrk", &mut command, b"")?.good("wrk")?;
        let (rate, complaints) = wrk_result(&output.text());
        stage.answer(&format!("wrk {path}: complaints"), complaints);
        stage.note(format!("wrk {path}: {rate}"));
        // Two workers answer at one address, and a connection whose claims went to the other one's channel waits for its
        // next chance.
        stage.proves_ring(&format!("wrk {path}"), &output, 60, &mut command, b"")?;
    }
    // Three seconds, since a 64th request of a megabyte may be a third of one away. Where four processes want two CPUs that
    // others use, too, most readers stand still now and then.
    let mut command = wrk(port, "/sendfile/large", 8, 3);
    let output = stage.client("wrk-large", &mut command, b"")?.good("wrk")?;
    let (rate, complaints) = wrk_result(&output.text());
    stage.answer("wrk /sendfile/large: complaints", complaints);
    stage.note(format!("wrk /sendfile/large: {rate}"));
    stage.proves_ring("wrk /sendfile/large", &output, 40, &mut command, b"")?;

    // Workers are replaced while wrk keeps its connections busy: they may be closed between requests, which is
    // nginx's own way, but a request on a new connection must always be answered.
    let load = stage.start_client("wrk-reload", &mut wrk(port, "/sendfile/small", 50, 3), b"")?;
    for round in 0..5 {
        std::thread::sleep(std::time::Duration::from_millis(300));
        if round == 1 || round == 3 {
            stage.signal_server("nginx", libc::SIGHUP);
        }
        let once = [
            // A megabyte is long enough for a chance in its midst.
            ("/sendfile/large", Way::Either),
            ("/proxied/small", Way::KernelUnlessEager),
        ];
        for (path, way) in once {
            let output = stage
                .client("curl-reload", &mut curl(port, &[path.to_owned()]), b"")?
                .good("curl during reload")?;
            stage.answer("curl during the reload", fingerprint(&output.bytes));
            stage.proves("curl once", &output, way);
        }
    }
    let output = load.finish()?.good("wrk during reload")?;
    let (rate, complaints) = wrk_result(&output.text());
    stage.note(format!("wrk during two reloads: {rate} {complaints}"));
    let answered = output
        .text()
        .lines()
        .any(|line| line.contains("requests in") && !line.trim_start().starts_with("0 "));
    stage.answer("wrk during the reload was answered", answered.to_string());
    Ok(())
}

/// Both workers wait at one address, and who runs first takes what has arrived: where processors are scarce, nearly all. At
/// this address each worker has a queue of its own, into which the kernel deals connections by a hash.
fn load_each_worker(stage: &mut Stage, port: u16) -> Result<(), String> {
    stage.each_worker_uses_the_ring("nginx", 2);
    let label = "wrk where connections are dealt out";
    let mut complaints = String::new();
    let mut ring_bytes = 0;
    for _ in 0..TRIES {
        let mut command = wrk(port, "/sendfile/small", 50, 1);
        let output = stage.client("wrk-dealt", &mut command, b"")?.good("wrk")?;
        let (rate, complaint) = wrk_result(&output.text());
        complaints.push_str(&complaint);
        stage.note(format!("{label}: {rate}"));
        ring_bytes += Proof::of_report(label, &output.report, Way::Either).ring_bytes;
        if !stage.has_library() || ring_bytes >= BYTES_DEALT_OUT {
            break;
        }
    }
    stage.answer(&format!("{label}: complaints"), complaints);
    Ok(())
}
