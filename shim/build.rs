//! Compiles the trampolines: the C frames in which a cancellable sleep happens (POSIX.md R8).

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
    cc::Build::new()
        .files(&sources)
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
