//! Compiles the trampolines: the C frames in which a cancellable sleep happens (POSIX.md R8).

#[path = "src/startup/fingerprint.rs"]
mod fingerprint;

fn main() {
    let mut sources = Vec::new();
    if let Ok(folder) = std::fs::read_dir("c") {
        for file in folder.flatten() {
            let path = file.path();
            println!("cargo:rerun-if-changed={}", path.display());
            if path.extension().is_some_and(|extension| extension == "c") {
                sources.push(path);
            }
        }
    }
    sources.sort();
    println!("cargo:rerun-if-changed=c");
    let header = |name: &str| std::fs::read(format!("c/{name}")).unwrap_or_default();
    let headers = [
        "call.h",
        "descriptor_sets.h",
        "early_sleepers.h",
        "readiness.h",
    ]
    .map(header);
    let fingerprint = fingerprint::of(&headers.each_ref().map(Vec::as_slice));
    cc::Build::new()
        .files(&sources)
        .define(
            "AXIO_HEADERS_FINGERPRINT",
            format!("{fingerprint}ull").as_str(),
        )
        .flag("-std=gnu11")
        .flag("-fexceptions")
        .flag("-fvisibility=hidden")
        .flag("-fno-strict-aliasing")
        .flag("-U_FORTIFY_SOURCE")
        .warnings(true)
        .extra_warnings(true)
        .opt_level(2)
        .compile("axio_trampolines");
    // initfirst: before other libraries' constructors; nodelete: dlclose leaves it; now: no lazy binding inside hooks.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,initfirst,-z,nodelete,-z,now");
}
