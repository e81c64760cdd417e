//! O_NONBLOCK, SO_RCVTIMEO and SO_SNDTIMEO take effect at the next call, whoever changes them and however.

mod as_on_the_kernel;
mod built;
mod watched;

#[test]
fn calls_wait_as_the_socket_says_now() {
    as_on_the_kernel::same_text("waiting_modes.c", &[]);
}
