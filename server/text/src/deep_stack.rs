//! llguidance follows references and rules by recursion, as deep as a text can make it, and an overflow of the stack
//! ends the process.

use std::io;
use std::panic::resume_unwind;
use std::thread;

/// The pages that are not needed cost nothing. Enough for what `references` and `lark_limits` let pass.
const STACK_BYTES: usize = 256 << 20;

/// Runs `work` on a thread with room for recursion.
pub fn with_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("guide".to_string()).stack_size(STACK_BYTES);
        Ok(thread.spawn_scoped(scope, work)?.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}
