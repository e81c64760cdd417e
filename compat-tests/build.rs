//! Compiles the cases that must be C: thread cancellation unwinds through frames, vfork returns into one twice, and
//! siglongjmp leaves them behind, all of which Rust frames forbid; and a va_list is C's alone.

fn main() {
    let files = ["c/cancel.c", "c/children.c", "c/printing.c"];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    cc::Build::new()
        .files(files)
        .flag("-pthread")
        .warnings(true)
        .compile("compat_stories");
}
