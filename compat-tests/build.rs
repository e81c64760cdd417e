//! Compiles the cases that must be C: thread cancellation unwinds through frames, vfork returns into one twice, and
//! siglongjmp leaves them behind, all of which Rust frames forbid.

fn main() {
    let files = ["c/cancel.c", "c/children.c"];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    cc::Build::new()
        .files(files)
        .flag("-pthread")
        .warnings(true)
        .compile("compat_stories");
}
