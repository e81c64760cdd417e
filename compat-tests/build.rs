//! Compiles the cases that must be C: thread cancellation unwinds through frames, which Rust frames forbid.

fn main() {
    println!("cargo::rerun-if-changed=c/cancel.c");
    cc::Build::new()
        .file("c/cancel.c")
        .flag("-pthread")
        .warnings(true)
        .compile("compat_cancel");
}
