pub fn play(_: &[&str]) -> Option<String> {
    None
}
