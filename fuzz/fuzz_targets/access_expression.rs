//! Whatever is written for a permission is an expression or an error, and an expression says the
//! same when it is printed and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstem_access::Ace;

fuzz_target!(|text: &str| {
    if let Ok(ace) = text.parse::<Ace>() {
        assert_eq!(ace.to_string().parse(), Ok(ace));
    }
});
