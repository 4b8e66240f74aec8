#![no_main]

use std::sync::Once;

static QUIET: Once = Once::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // The library turns panics of the tokenizers crate into errors; libFuzzer's own hook would end the process at
    // each. One that reaches libFuzzer still ends it.
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| ())));
    let _ = bitsmith_fuzz::tokenizer(bytes);
});
