//! The `cutover` binary. What it does is `cutover::cli`; what its exit codes mean is said there.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cutover::cli::main(std::env::args_os())
}
