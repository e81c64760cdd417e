//! nginx with two workers: files by sendfile and by copying, a proxy in front of itself, a reload under load.

use super::stage::{Stage, Way, fingerprint, printable};
use std::process::Command;

fn configuration(directory: &str, port: u16) -> String {
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
    command.args(["-d", &format!("{seconds}s")]);
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
    let port = stage.free_port()?;
    let directory = stage.directory().display().to_string();
    stage.file("files/small", &printable(1, 1 << 10))?;
    stage.file("files/large", &printable(2, 1 << 20))?;
    let configuration = stage.file("nginx.conf", configuration(&directory, port).as_bytes())?;
    let mut command = Command::new("nginx");
    command.args(["-p", &directory, "-c"]).arg(configuration);
    stage.server("nginx", &mut command, port)?;

    for kind in ["sendfile", "copied", "proxied"] {
        for size in ["small", "large"] {
            let path = format!("/{kind}/{size}");
            let output = stage
                .client("curl", &mut curl(port, &vec![path.clone(); 20]), b"")?
                .good("curl")?;
            let label = format!("curl {path}, 20 times on one connection");
            stage.answer(&label, fingerprint(&output.bytes));
            stage.proves(
                &label,
                &output,
                Way::Ring(if size == "small" { 50 } else { 40 }),
            );
        }
        let seconds = if stage.is_quick { 1 } else { 2 };
        let path = format!("/{kind}/small");
        let output = stage
            .client("wrk", &mut wrk(port, &path, 50, seconds), b"")?
            .good("wrk")?;
        let (rate, complaints) = wrk_result(&output.text());
        stage.answer(&format!("wrk {path}: complaints"), complaints);
        stage.note(format!("wrk {path}: {rate}"));
        // Two workers answer at one address, and a connection whose claims went to the other one's channel has its next
        // chance at its 8th and 64th request: on a busy machine these take a good part of a second.
        stage.proves(&format!("wrk {path}"), &output, Way::Ring(40));
    }
    // Three seconds, since a 64th request of a megabyte may be a third of one away.
    let output = stage
        .client("wrk-large", &mut wrk(port, "/sendfile/large", 8, 3), b"")?
        .good("wrk")?;
    let (rate, complaints) = wrk_result(&output.text());
    stage.answer("wrk /sendfile/large: complaints", complaints);
    stage.note(format!("wrk /sendfile/large: {rate}"));
    stage.proves("wrk /sendfile/large", &output, Way::Ring(40));

    // Workers are replaced while wrk keeps its connections busy: they may be closed between requests, which is
    // nginx's own way, but a request on a new connection must always be answered.
    let load = stage.start_client("wrk-reload", &mut wrk(port, "/sendfile/small", 50, 3), b"")?;
    for round in 0..5 {
        std::thread::sleep(std::time::Duration::from_millis(300));
        if round == 1 || round == 3 {
            stage.signal_server("nginx", libc::SIGHUP);
        }
        let paths = ["/sendfile/large".to_owned(), "/proxied/small".to_owned()];
        for path in paths {
            let output = stage
                .client("curl-reload", &mut curl(port, &[path]), b"")?
                .good("curl during reload")?;
            stage.answer("curl during the reload", fingerprint(&output.bytes));
            stage.proves("curl once", &output, Way::KernelUnlessEager);
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
